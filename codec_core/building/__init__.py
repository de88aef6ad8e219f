"""Make maps from the files that models come with: `tokenizer.json`, GGUF, tiktoken ranks.

Each builder returns the bytes of a map, checked as any other map is. What the file does and a map cannot say
is an error, never a map that encodes almost as the model does.
"""

from codec_core.building.gguf import build_from_gguf
from codec_core.building.tiktoken_ranks import build_from_tiktoken
from codec_core.building.tokenizer_json import build_from_tokenizer_json

__all__ = ["build_from_gguf", "build_from_tiktoken", "build_from_tokenizer_json"]
