"""`codec-agents demo --real`: two small models of two vocabularies, from the package index to a chain."""
