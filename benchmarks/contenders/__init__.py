"""How each system does a plan: one module each, imported only in the process that runs it."""
