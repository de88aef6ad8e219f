"""Pipelines inside other frameworks and protocols: one file each, each with an extra of its own."""
