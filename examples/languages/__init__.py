"""One graph whose jobs run in six languages; see `graph` and the README.md beside this file."""
