"""One graph whose jobs run in five languages; see `graph` and the README.md beside this file."""
