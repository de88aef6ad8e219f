"""Benchmarks: this project and its peers in one run, as ratios."""
