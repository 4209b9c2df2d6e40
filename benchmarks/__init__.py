"""Ours and its peers, measured in turn on one broker: ``make bench``.

``workloads`` says what there is to do and what must come out, ``contenders/`` how each system does
it, ``session`` runs one of them in a process of its own, ``rounds`` lets them take turns,
``summary`` makes medians of what they needed, ``tables`` and ``plots`` show them.
"""
