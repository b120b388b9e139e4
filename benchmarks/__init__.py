"""Measures what the issue tracker asks for, on a private platform; ``python -m benchmarks --help``."""
