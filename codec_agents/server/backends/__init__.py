"""The back ends of the server: one source of token ids per file."""
