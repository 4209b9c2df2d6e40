"""What is decided, without I/O: no await, clock, chance, log or SQL in here."""
