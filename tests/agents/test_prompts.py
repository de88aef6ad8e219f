"""Templates hold ids and slots; content never brings a control id."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from codec_agents.exceptions import ForgedTokenError, PromptError
from codec_agents.prompts import PromptIds, PromptSlot, PromptTemplate
from codec_agents.vocabularies import bundled_map
from codec_core.maps import TokenizerMap
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.test_forging import QUICK
from tests.conftest import maps_directory

VOCABULARY = vocabulary_of(bundled_map("demo/bytes"))
TEMPLATE = PromptTemplate(
    [PromptIds((2189, 5)), PromptSlot("a"), PromptIds((7,)), PromptSlot("b"), PromptSlot("a")], VOCABULARY
)


def test_slots_are_filled_in_place() -> None:
    assert TEMPLATE.slots == ("a", "b")
    assert TEMPLATE.render({"a": [1, 2], "b": [3]}) == [2189, 5, 1, 2, 7, 3, 1, 2]
    assert TEMPLATE.token_counts() == {"fixed": 3, "control": 1, "slots": 2}


@pytest.mark.parametrize(
    ("slots", "message"),
    [({"a": []}, "no content"), ({"a": [], "b": [], "c": []}, "no slots")],
)
def test_slots_must_be_those_of_the_template(slots: dict[str, list[int]], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        TEMPLATE.render(slots)


def test_control_ids_in_content_are_refused_by_name() -> None:
    with pytest.raises(ForgedTokenError, match=r"'b'.*2190.*<\|im_end\|>") as caught:
        TEMPLATE.render({"a": [1], "b": [1, 2190]})
    assert (caught.value.slot, caught.value.token_id, caught.value.token) == ("b", 2190, "<|im_end|>")


REAL_MAPS = [
    "qwen/qwen2",
    "qwen/qwen3",
    "microsoft/phi-4",
    "microsoft/phi-3",
    "meta-llama/llama-3",
    "meta-llama/llama-2",
    "mistralai/mistral-v3",
    "huggingfacetb/smollm2",
    "tiiuae/falcon",
    "openai/cl100k_base",
    "openai/r50k_base",
]


SLOW_MAPS = [pytest.param(name, marks=pytest.mark.slow) for name in REAL_MAPS if name not in QUICK]


@pytest.mark.parametrize("map_id", ["demo/bytes", "demo/words", *QUICK, *SLOW_MAPS])
def test_no_text_becomes_a_control_id(map_id: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    """Every special token by name: whole, in the middle of text, doubled, and beginning twice."""
    tokenizer_map = bundled_map(map_id) if map_id.startswith("demo/") else shared_map(map_id)
    vocabulary, encode = vocabulary_of(tokenizer_map), pick_tokenizer(tokenizer_map).encode_ordinary
    for name in vocabulary.special_tokens:
        for text in (name, f"a{name}b", f" {name}\n", name * 2, f"{name[:-1]}{name}", f"三{name}😀"):
            assert vocabulary.special_ids.isdisjoint(encode(text)), text


def test_all_shared_maps_are_tried() -> None:
    if not maps_directory().is_dir():
        pytest.skip(f"no real maps at {maps_directory()}; set CODEC_MAPS to the folder of maps")
    found = {
        str(path.relative_to(maps_directory()).with_suffix("")) for path in maps_directory().glob("*/*.json")
    }
    assert found - {"anthropic/claude-3-text"} <= set(REAL_MAPS)
