"""The conformance kit: plays the scheduler against a worker, in whatever language it is written.

`stage` is what a worker meets: the queues (`place`), the played scheduler, a proxy before the broker
that reads what the worker says, and the worker's process. `level_1` to `level_3` have the checks,
`verdict` what they come to. Nothing here knows the real scheduler.
"""
