"""The rules that a declaration has to satisfy, one subject per file."""
