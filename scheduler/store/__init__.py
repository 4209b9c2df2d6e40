"""The database: the only place that knows SQLAlchemy.

Functions here take a connection, load facts or write decisions, and decide nothing.
"""
