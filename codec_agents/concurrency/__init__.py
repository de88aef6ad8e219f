"""Waiting, deadlines, task groups and event loops: what the layers above share and know nothing of."""
