"""The wire, version 1: names, messages and their encoding. No I/O."""
