"""Make maps from the files that models come with, one format a module.

Each builder returns the bytes of a map, checked as any other map is, and tried: a map that does not give
every text back is refused. A file that does what a map cannot state is an error, never a map that encodes
almost as the model does.
"""

from codec_core.building.gguf import build_from_gguf
from codec_core.building.sentencepiece_model import build_from_sentencepiece
from codec_core.building.tekken import build_from_tekken
from codec_core.building.tiktoken_ranks import build_from_tiktoken
from codec_core.building.tokenizer_json import build_from_tokenizer_json

__all__ = [
    "build_from_gguf",
    "build_from_sentencepiece",
    "build_from_tekken",
    "build_from_tiktoken",
    "build_from_tokenizer_json",
]
