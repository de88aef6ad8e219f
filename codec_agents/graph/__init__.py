"""The declaration of a pipeline: values, YAML, and pure checks; nothing here runs anything."""
