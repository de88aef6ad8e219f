"""Byte-pair merging: from a piece of text to its ids, by the merge list or an engine proven equal to it."""

from codec_core.merging.byte_level import ByteLevelMerger
from codec_core.merging.merge_list import Merger
from codec_core.merging.metaspace import MetaspaceMerger
from codec_core.merging.pieces import PieceCache

__all__ = ["ByteLevelMerger", "Merger", "MetaspaceMerger", "PieceCache"]
