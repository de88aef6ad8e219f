"""Declarations as files: YAML, JSON and their JSON Schema."""
