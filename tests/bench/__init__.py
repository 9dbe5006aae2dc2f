"""Benchmarks: what the project claims, measured beside its best peer. Start them with `scripts/bench`.

Each module named in `figure.BENCHMARKS` has a function `measure(options)` that yields its figures.
"""
