"""Maps from llama.cpp's own vocabularies, held equal to the reference encodings that lie beside these."""

import pytest

from codec_core.building import build_from_gguf
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer
from tests.real_files.__main__ import reference_pairs
from tests.real_files.packages import LLAMA_CPP
from tests.real_files.sources import NotFetchedError, files_of

NAMES = [
    *("command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm"),
    *("mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_reference_case_is_exact(name):
    try:
        files = files_of(LLAMA_CPP, fetch=False)
    except NotFetchedError as error:
        pytest.skip(str(error))
    path = next(path for path in files if path.name == f"ggml-vocab-{name}.gguf")
    tokenizer = pick_tokenizer(parse_map(build_from_gguf(path, map_id="test/vocabulary")))
    pairs = reference_pairs(path)
    assert len(pairs) > 40
    for text, ids in pairs:
        assert tokenizer.encode(text) == ids, text
