"""Byte-pair merging: from one piece of a text to its ids, by the list of merges or a proven faster road."""

from codec_core.merging.mergers import ByteLevelMerger, MetaspaceMerger
from codec_core.merging.pieces import PieceCache

__all__ = ["ByteLevelMerger", "MetaspaceMerger", "PieceCache"]
