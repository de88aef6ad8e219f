"""Maps from ranks: tekken.json, and tiktoken patterns of all kinds."""

import base64
import json
from random import Random

import pytest
import tiktoken

from codec_core.building import build_from_tekken, build_from_tiktoken
from codec_core.building.tiktoken_ranks import PATTERNS
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer
from tests.texts import random_text

RANKS = {bytes((byte,)): byte for byte in range(256)}
for _token in (
    b"th",
    b"the",
    b" the",
    b"in",
    b"ing",
    b" s",
    b"ab",
    b"abab",
    b"  ",
    b"12",
    b"\n\n",
    "漢".encode()[:2],
    "漢".encode(),
):
    RANKS[_token] = len(RANKS)
POSSESSIVE = "|".join(
    [
        r"'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?+\p{L}++",
        r"\p{N}{1,3}+",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
        r"\s++$",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s",
    ]
)


def write_ranks(path):
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in RANKS.items()))


@pytest.mark.parametrize("pattern", [*PATTERNS, POSSESSIVE])
def test_ids_equal_tiktoken(pattern, tmp_path):
    write_ranks(tmp_path / "ranks.tiktoken")
    special = {"<|end|>": 300, "<|im_start|>": 301}
    built = build_from_tiktoken(
        tmp_path / "ranks.tiktoken", map_id="test/ranks", pattern=pattern, special_tokens=special
    )
    reference = tiktoken.Encoding(
        "test", pat_str=PATTERNS.get(pattern, pattern), mergeable_ranks=RANKS, special_tokens=special
    )
    tokenizer, random = pick_tokenizer(parse_map(built)), Random(1)
    for _ in range(300):
        text = random_text(random, 10) + random.choice(["", "  ", "\n ", "漢字a", "12345"])
        assert tokenizer.encode_ordinary(text) == reference.encode_ordinary(text), text
        assert tokenizer.encode(text) == reference.encode(text, allowed_special="all"), text


@pytest.mark.parametrize("pattern", [r"\p{L}+|\p{N}+|\s+", r"\S+|\s+(?!\S)"])
def test_a_pattern_that_leaves_text_out_is_refused(pattern, tmp_path):
    write_ranks(tmp_path / "ranks.tiktoken")
    with pytest.raises(MapBuildError, match="loses text: not every character belongs to a match"):
        build_from_tiktoken(tmp_path / "ranks.tiktoken", map_id="test/ranks", pattern=pattern)


def tekken_file(**changes):
    config = {
        "pattern": PATTERNS["o200k_base"],
        "default_vocab_size": len(RANKS) + 22,
        "default_num_special_tokens": 24,
    }
    vocab = [
        {"rank": n, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for n, token in enumerate(RANKS)
    ]
    return {"config": config, "vocab": vocab, **changes}


def test_tekken_puts_special_tokens_first_and_leaves_the_last_ranks_out(tmp_path):
    (tmp_path / "tekken.json").write_text(json.dumps(tekken_file()))
    built = parse_map(build_from_tekken(tmp_path / "tekken.json", map_id="test/tekken"))
    assert built.special_tokens["[INST]"] == 3
    assert built.special_tokens["<SPECIAL_23>"] == 23
    kept = dict(list(RANKS.items())[:-2])
    reference = tiktoken.Encoding(
        "test", pat_str=PATTERNS["o200k_base"], mergeable_ranks=kept, special_tokens={}
    )
    for text in ("the thing abab 12", "漢字\n\n  x"):
        expected = [24 + number for number in reference.encode_ordinary(text)]
        assert pick_tokenizer(built).encode_ordinary(text) == expected
    listed = tekken_file(
        special_tokens=[{"rank": 0, "token_str": "<unk>"}, {"rank": 1, "token_str": "[THINK]"}]
    )
    (tmp_path / "tekken.json").write_text(json.dumps(listed))
    built = parse_map(build_from_tekken(tmp_path / "tekken.json", map_id="test/tekken"))
    assert [built.special_tokens[name] for name in ("[THINK]", "<SPECIAL_2>")] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab": []}, "0 tokens where the file's sizes need"),
        ({"vocab": [{"rank": 1, "token_bytes": "YQ=="}]}, "of rank 1 is empty, doubled or out of order"),
        ({"vocab": [{"rank": 0, "token_bytes": "!"}]}, "of rank 0 is no base64"),
        ({"vocab": [{"rank": 0, "token_bytes": "é"}]}, "of rank 0 is no base64"),
        ({"special_tokens": [{"rank": 0, "token_str": "x"}, {"rank": 0, "token_str": "y"}]}, "doubled"),
        ({"special_tokens": [{"rank": 99, "token_str": "x"}]}, "more than the file says"),
        ({"special_tokens": [{"rank": 0, "token_str": "x"}, {"rank": 1, "token_str": "x"}]}, "doubled"),
        ({"config": None}, "is no tekken.json"),
    ],
)
def test_damaged_tekken_files_are_refused(changes, message, tmp_path):
    (tmp_path / "tekken.json").write_text(json.dumps(tekken_file(**changes)))
    with pytest.raises(MapBuildError, match=message):
        build_from_tekken(tmp_path / "tekken.json", map_id="test/tekken")
