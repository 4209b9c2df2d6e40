"""An analysis of Python's own standard library, as a graph of jobs; see `jobs` and `graph`."""
