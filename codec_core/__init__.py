"""The Codec protocol in Python: maps, tokenizers, frames, regions and translation, with no networking but discovery."""
