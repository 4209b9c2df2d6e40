"""What is done inside a transaction: load facts, let the rules decide, write.

Each operation checks everything that can be refused before it writes or promises anything, so a
refused request leaves nothing behind. What the outside must hear is collected as effects and
carried out after the commit.
"""
