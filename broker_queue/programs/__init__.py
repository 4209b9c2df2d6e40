"""Programs in place of job functions: started for each job, and ended with it."""
