"""Run records: writing, reading and comparing them."""
