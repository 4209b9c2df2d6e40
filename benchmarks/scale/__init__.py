"""Ours with very many jobs: ``python -m benchmarks.scale``, or ``make bench-scale``.

``latency``, ``submits``, ``stalls``, ``waiting`` and ``cost`` have one question each; ``parts``
names them, ``running`` lets each have a process of its own, ``part`` is that process. ``stream``
sends unrelated jobs beside what is measured. ``figures`` and ``goals`` make of the rows what
``tables`` and ``plots`` show.
"""
