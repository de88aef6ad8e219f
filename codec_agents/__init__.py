"""Pipelines of language models that exchange token ids."""
