"""The process that owns the state of jobs and hands them to the broker.

The life of a batch, and where it is decided::

    broker/inbox      deliveries are put away; the loop takes what has arrived
    incoming          bytes become requests and reports; what means nothing is parked
    loop              one transaction for the batch, then what follows the commit
      work            what one transaction does, in order
      operations/     load facts, let rules/ decide, write decisions; effects are collected
      store/          SQL; `writer` has the one connection that writes
    acting            effects go out: answers, cancels, events; jobs go to publishing
    publishing        args are filled in with results, jobs are published, confirms noted
    broker/outbox     AMQP out

How a ready job reaches a worker: `store.dispatch` moves it from the line of its queue into the
window (``dispatch`` becomes publishing; such rows are the outbox), `publishing` sends it, and the
confirm is noted in a later transaction (published). A report that ends it, or a worker that starts
it, takes it out of the window again.

How the end of a job reaches its dependents: `operations.settle` follows its edges, a bounded number
in one transaction. Where it stops, the job stands in the table ``frontier`` with the key of the
last dependent that was told. An edge that is added meanwhile to a dependent beyond that key counts
as open, since the telling has yet to come by; one before it is judged at once.
"""
