"""A guard against growing cost: it counts what is the same in every run, and compares it with a table.

Part of ``make test``. Time is not measured here (that is ``make bench``), but what time is spent on::

    budgets        the table, `budgets.toml`: workload, measure, budget
    counting       SQL statements, SQLite's instructions and pages, calls of Python functions
    database       a scheduler's database without a broker
    transactions   workloads of one transaction each
    in_memory      workloads without a database
    wire           AMQP messages and bytes, counted between a process and the broker
    on_broker      workloads of a scheduler, a worker and a client

``python -m tests.cost --show`` prints what is counted now, in the form of the table.
"""
