"""The text of a prompt, and the ids of its parts."""

import pytest

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.parsing.prompt_text import PromptAlphabet
from codec_core.vocabulary import vocabulary_of


@pytest.mark.parametrize("map_id", ["mistralai/mistral-v3", "qwen/qwen2"])
def test_a_part_that_begins_within_a_token_is_spelled_exactly(map_id, shared_map):
    """Also where the vocabulary puts a space before the first token, which is not of the text."""
    vocabulary = vocabulary_of(shared_map(map_id))
    marker, number = next(iter(vocabulary.special_tokens.items()))
    encoder = PieceEncoder(vocabulary, [marker])
    ids = [number, *encoder.encode("Hello internationalization")]
    prompt = PromptAlphabet(vocabulary, encoder).prompt(ids)
    for start in range(2, len(prompt.text)):
        part = prompt.ids_between(start, len(prompt.text))
        assert encoder.spelled_run(part, begins=False).decode() == prompt.text[start:]
