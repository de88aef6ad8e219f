"""The things outside that a pipeline file may name: environment variables, callables and programs."""
