"""Byte-pair merging: from one piece of a text to its ids, by the list of merges or a proven faster road."""

from codec_core.merging.mergers import ByteLevelMerger, Merger, MetaspaceMerger
from codec_core.merging.pieces import PieceCache

__all__ = ["ByteLevelMerger", "Merger", "MetaspaceMerger", "PieceCache"]
