"""A model whose answers are a script: for demos and tests, without weights."""
