"""Maps that were made to hurt: each is refused, or used rightly, within a second and 64 MB."""

import json
from collections.abc import Callable, Iterable
from itertools import product
from random import Random
from typing import Any

import pytest

from codec_core.added import MAX_BRANCHES, MAX_NODES
from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import detokenize
from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import MAX_MAP_BYTES, MAX_MAP_VALUES, parse_map
from codec_core.tokenizer import pick_tokenizer
from tests.limits import within

pytestmark = pytest.mark.memory


def document(merges: list[str], extra: list[str] | None = None, **fields) -> bytes:
    """Return a byte-level map that has a token for every merge."""
    tokens = [*ALPHABET, *(merge.replace(" ", "") for merge in merges), *(extra or [])]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    base = {"id": "a/b", "version": "2", "vocab_size": len(vocab), "encoder": "byte_level"}
    return json.dumps({**base, "vocab": vocab, "merges": merges, **fields}).encode()


def with_special(names: list[str]) -> bytes:
    """Return a map with special tokens of these names."""
    first = len(ALPHABET) + 1
    names = list(dict.fromkeys(names))
    return document(["a b"], names, special_tokens={name: first + at for at, name in enumerate(names)})


def ten_million_entries() -> bytes:
    entries = b",".join(b'"%d":%d' % (number, number) for number in range(200_000))
    return b'{"id":"a","version":"2","vocab_size":1,"vocab":{' + (entries + b",") * 49 + entries + b"}}"


def tiny_entries() -> bytes:
    values = b"0," * MAX_MAP_VALUES
    return b'{"id":"a","version":"2","vocab_size":1,"vocab":{},"x":[' + values + b"0]}"


def million_tokens() -> bytes:
    entries = ",".join(f'"{number:x}" : {number}' for number in range(2**20))
    return f'{{"id":"a","version":"2","vocab_size":1,"vocab":{{{entries}}}}}'.encode()


def every_split(longest: int) -> list[str]:
    """Return all ways of making runs of one letter out of two shorter ones."""
    return [f"{'a' * at} {'a' * (length - at)}" for length in range(2, longest) for at in range(1, length)]


def shuffled(merges: list[str]) -> list[str]:
    return Random(1).sample(merges, len(merges))


def random_merges() -> tuple[list[str], list[str]]:
    words = ["".join(letters) for length in range(1, 9) for letters in product("ab", repeat=length)]
    random = Random(1)
    merges = list(dict.fromkeys(f"{random.choice(words)} {random.choice(words)}" for _ in range(20_000)))
    return merges, words


def plain(tokens: list[str]) -> bytes:
    """Return a map without merges, whose longest token at each place is taken."""
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return json.dumps({"id": "a/b", "version": "2", "vocab_size": len(vocab), "vocab": vocab}).encode()


USED: dict[str, tuple[Callable[[], bytes], str]] = {
    "every split of a run": (lambda: document(every_split(300)), "a" * 3000),
    "the longest first": (lambda: document([*reversed(every_split(300)), "a a"]), "a" * 3000),
    "every split in any order": (lambda: document(shuffled(every_split(300))), "a" * 3000),
    "a merge that is listed 200,000 times": (lambda: document(["a b"] * 200_000), "ab" * 1000),
    "two merges in turns": (lambda: document(["a b", "b a"] * 100_000), "ab" * 1000),
    "tokens in tokens": (lambda: document([f"{'a' * n} a" for n in range(1, 1500)]), "a" * 3000),
    "tokens before their parts": (lambda: document([f"{'a' * n} a" for n in range(1499, 0, -1)]), "a" * 3000),
    "doubling": (lambda: document([f"{'a' * 2**n} {'a' * 2**n}" for n in range(12)]), "a" * 200_000),
    "merges of everything": (lambda: document(*random_merges()), "abba" * 20_000),
    "tokens of a million bytes": (
        lambda: document([f"{'a' * 10**6} {'b' * 10**6}"], ["a" * 10**6, "b" * 10**6]),
        "ab" * 100,
    ),
    "without merges, tokens in tokens": (
        lambda: plain(["b", *("a" * n for n in range(1, 1025))]),
        ("a" * 1000 + "b") * 200,
    ),
    "without merges, tokens that are never whole": (
        lambda: plain(["a", *("a" * n + "!" for n in range(1, 1024))]),
        "a" * 100_000,
    ),
    "thousands of special tokens": (
        lambda: with_special([f"<{n}>" for n in range(30_000)]),
        "a<7><29999>b" * 99,
    ),
    "special tokens each a little longer": (
        lambda: with_special(["<" * length for length in range(2, 1500)]),
        "<" * 20_000 + "a<<",
    ),
}  # fmt: skip


SLOW = {
    "every split of a run", "every split in any order", "two merges in turns", "tokens before their parts",
    "merges of everything", "without merges, tokens that are never whole", "thousands of special tokens",
    "ten million entries", "two million merges",
}  # fmt: skip
"""Those that take longest, beside others that cost for the same cause."""


def each(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.parametrize("name", each(USED))
@pytest.mark.slow
def test_what_is_a_map_is_used_rightly(name):
    make, text = USED[name]
    data = make()

    def use() -> tuple[str, str]:
        tokenizer = pick_tokenizer(parse_map(data))
        return (
            detokenize(tokenizer.vocabulary, tokenizer.encode_ordinary(text)),
            detokenize(tokenizer.vocabulary, tokenizer.encode(text), render_special=True),
        )

    within_limits(lambda: use() == (text, text))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "ten million entries": (ten_million_entries, f"limit of {MAX_MAP_BYTES} bytes"),
    "tiny entries": (tiny_entries, "entries"),
    "a million tokens": (million_tokens, "more than 524288 tokens"),
    "a merge of missing parts": (
        lambda: document(["a b"], vocab={"a": 0, "b": 1}),
        "'a b' makes a token that is not in vocab",
    ),
    "two million merges": (lambda: document(["a b"] * 2_000_000), "more than 1048576 entries"),
    "a merge of one token": (lambda: document(["a b", "ab"]), "'ab' is not two tokens"),
    "an empty merge": (lambda: document(["a b", " "]), "is not two tokens"),
    "without merges, a token of great length": (lambda: plain(["a" * 10**7]), "without merges the limit is"),
    "without merges, many long tokens": (
        lambda: plain([f"{n:04}" + "a" * 3000 for n in range(9000)]),
        "without merges the limit is",
    ),
    "an id of 2^32": (lambda: document(["a b"], vocab={"a": 2**32}), "outside 0..2\\^32-1"),
    "an id of 2^32-1": (lambda: document(["a b"], vocab={"a": 2**32 - 1}), "sparse"),
    "an id below 0": (lambda: document(["a b"], vocab={"a": -1}), "outside 0..2\\^32-1"),
    "100,000 objects in each other": (lambda: b'{"id":' * 100_000, "not a tokenizer map"),
    "special tokens that branch everywhere": (
        lambda: with_special(["<" * length + ">" for length in range(2, 1500)]),
        f"more than {MAX_BRANCHES} names",
    ),
    "special tokens of great length": (
        lambda: with_special(["".join(Random(n).choices("abcdef", k=3000)) for n in range(30)]),
        f"at most {MAX_NODES}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", each(REFUSED))
def test_what_is_no_map_is_refused(name):
    make, message = REFUSED[name]
    data = make()

    def refuse() -> bool:
        with pytest.raises(TokenizerMapValidationError, match=message):
            pick_tokenizer(parse_map(data)).encode("ab")
        return True

    within_limits(refuse)


def within_limits(check: Callable[[], bool]) -> None:
    with within():
        assert check()
