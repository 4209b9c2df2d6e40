"""The scheduler: the process that owns the state of jobs and hands them to the broker."""
