"""Byte-pair merging: from one piece of a text to its ids, by the list of merges or a proven faster road."""

from codec_core.merging.byte_level import ByteLevelMerger
from codec_core.merging.merge_list import Merger
from codec_core.merging.metaspace import MetaspaceMerger
from codec_core.merging.pieces import PieceCache

__all__ = ["ByteLevelMerger", "Merger", "MetaspaceMerger", "PieceCache"]
