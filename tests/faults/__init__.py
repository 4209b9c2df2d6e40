"""Crash tests: processes are killed while graphs of jobs run; afterwards every promise is checked.

``make faults``, or ``python -m tests.faults --help``. A run, and where its parts are::

    plan                  what is killed when, and which graphs are submitted: all from one seed
    processes             two schedulers and two workers, killed and started again; the broker
      scheduler_process   the scheduler as it is, or with a deliberate bug of `mutations`
      worker_process      a real `Worker`; its functions write down what they do (`journal`)
    reaper                kills them as planned
    client                submits and cancels, and keeps what was confirmed to it
    database              looks at the database from outside, while it runs and at the end
    run                   puts these together: kill, let everything settle, stop, check
    checks                the promises, each a function of database, journals and client's record
    report                the table
"""
