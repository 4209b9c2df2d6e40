"""What the examples share that start a whole system, show what it does, and leave nothing."""
