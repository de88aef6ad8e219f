"""Long runs against real servers on loopback: hostile clients, faults and kills.

See `python -m tests.soak -h`.
"""
