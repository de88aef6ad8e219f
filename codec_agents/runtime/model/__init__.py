"""A model node at run time: its prompt, its turns and its tool calls."""
