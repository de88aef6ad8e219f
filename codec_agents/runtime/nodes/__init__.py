"""Node kinds at run time, one per file: each is an async function of its node, its wiring and its context."""
