"""Crash tests: processes are killed while graphs of jobs run; afterwards every promise is checked.

``make faults``, or ``python -m tests.faults --help``. A run, and where its parts are::

    plan, works           what is killed when, and which graphs are submitted: all from one seed
    processes             two schedulers, two workers and a client, started again and again; the broker
      scheduler_process   the scheduler as it is, or with a deliberate bug of `mutations`
      worker_process      a real `Worker`; its functions write down what they do (`journal`)
      client_process      a client that dies in the middle of a request
    reaper                kills them as planned, and stops some for a while before
    client                submits, cancels and retries; what it sent and was told is kept in a `record`
    database              looks at the database from outside, while it runs and at the end
    run                   puts these together: kill, let everything settle, stop, check
    evidence              what is known at the end: database, journals, record
    checks                the promises, each a function of it; with `cancels` and `retries`
    report                the table
"""
