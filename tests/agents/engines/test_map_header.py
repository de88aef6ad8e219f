"""The header that names a map, in the forms of servers in the field."""

import pytest

from codec_agents.engines.map_header import map_agrees

HELD = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64
ID = "qwen/qwen2"


@pytest.mark.parametrize(
    ("form", "agrees"),
    [
        (HELD, True),
        (HELD.upper(), True),
        (f'"{HELD}"', True),
        (HELD.removeprefix("sha256:"), True),
        (f"{ID}@{HELD}", True),
        (f"{ID} sha256:01234567", True),
        (f"{ID} sha256:0123456789ab", True),
        (ID, True),
        (OTHER, False),
        (f"{ID} sha256:01234568", False),
        (f"{ID} sha256:0123", None),  # too short to tell
        (f"{ID} sha256:0124", False),
        (f"{ID}@v1", None),
        (f"{ID}-base@v1", False),
        ("other/map", False),
        ("https://maps.example/qwen2.json", None),
        ("", None),
    ],
)
def test_every_form_is_compared(form, agrees):
    found = map_agrees({"codec-tokenizer-map": form}, HELD, ID)
    assert (None if found is None else found[0]) is agrees


def test_a_url_is_told_by_the_hash_beside_it():
    headers = {"codec-tokenizer-map": "https://maps.example/qwen2.json"}
    assert map_agrees({**headers, "codec-tokenizer-map-hash": HELD}, HELD, ID) == (True, HELD)
    assert map_agrees({**headers, "codec-tokenizer-map-hash": OTHER}, HELD, ID) == (False, OTHER)
    assert map_agrees({}, HELD, ID) is None
