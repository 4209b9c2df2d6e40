"""Ours with very many jobs: ``python -m benchmarks.scale``.

``measures`` has one function for each question, ``probes`` what is watched beside them.
"""
