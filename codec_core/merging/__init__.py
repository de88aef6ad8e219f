"""From a piece of text to its ids: by the list of merges, an engine proven equal to it, or by scores."""

from codec_core.merging.byte_level import ByteLevelMerger
from codec_core.merging.merge_list import Merger
from codec_core.merging.metaspace import MetaspaceMerger
from codec_core.merging.pieces import PieceCache

__all__ = ["ByteLevelMerger", "Merger", "MetaspaceMerger", "PieceCache"]
