"""Edges at run time: channels, slots, gates and the translation between vocabularies."""
