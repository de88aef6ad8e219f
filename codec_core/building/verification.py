"""Check a map that was built: it gives every text back, and the same ids as the reference tokenizer.

A map that loses text is refused by the first text that it loses. Bytes for which the file itself has no token
are no fault of the map, and texts that need them are not tried; nor are texts that the map refuses to encode.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError, UnencodableTextError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.tokenizer import VocabularyTokenizer, pick_tokenizer
from codec_core.unicode.classes import WHITE_SPACE
from codec_core.unicode.normalization import normalized
from codec_core.vocabulary import METASPACE

Encode = Callable[[str], list[int]]

TOKENS_TRIED = 256
"""Tokens of the file that are tried as texts, spread over its vocabulary, and as many added tokens."""

PROSE = (
    "The quick brown fox didn't jump; it's 12345678.90 o'clock, SHE'LL say \"we've\" — hélas!\n",
    "Český, Ελληνικά, Русский, Հայերեն, עברית, العربية, فارسی, اردو, हिन्दी, বাংলা, தமிழ், తెలుగు",
    "ไทย ລາວ မြန်မာ ខ្មែរ ქართული አማርኛ 日本語とカタカナ、中文字符。 한국어 ㄱㄴ ᠮᠣᠩᠭᠣᠯ བོད་ཡིག",
    "𐐀𝔘𝓷𝓲 🙂👩‍👩‍👧🇵🇹 𠀀𪜀 e\u0301 A\u030a ½ Ⅻ ² ﬁ ß ſ İ ı \u00ad\u200b\u200d\ufeff",
    "def f(x):\n\treturn {'a': x**2}  # <html>&amp;</html>\r\n\r\n\n   \t \n  end",
    "don't DON'T we'll WE'LL I'm o'sullivan 'tis 1'000'000 x²+y² 3.14 0x1F 1,234,567",
    "aAaA camelCaseWord HTTPServer snake_case_word $price €5 100% #tag @user a|b ~/.x",
)
_SPACES = (
    "",
    " ",
    "  ",
    "   ",
    " " * 17,
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\t\t",
    " \n ",
    "\n  \n",
    "\u00a0",
    "\u3000",
)


def verify(data: bytes, reference: Encode | None = None, control: Iterable[str] = ()) -> None:
    """Refuse a map that loses text, or that encodes otherwise than the reference.

    Args:
        data: the map.
        reference: the reference's encoding of a text in which control tokens may stand.
        control: the control tokens that the reference knows.

    Raises:
        MapBuildError: the text, and what became of it.
    """
    tokenizer_map = parse_map(data)
    probe = _Probe(tokenizer_map)
    for text in probe.texts():
        probe.check_round_trip(text)
    if reference is not None:
        for text in (*probe.texts(), *probe.around(control)):
            probe.check_ids(text, reference(text))


class _Probe:
    """The texts that one map is tried with."""

    def __init__(self, tokenizer_map: TokenizerMap) -> None:
        self._map = tokenizer_map
        self._tokenizer: VocabularyTokenizer = pick_tokenizer(tokenizer_map)
        self._vocabulary = self._tokenizer.vocabulary
        self._known = _known_bytes(tokenizer_map)
        self._marked = tokenizer_map.encoder == "metaspace"
        vocab = tokenizer_map.vocab or {}
        self._text_ids = {vocab[name] for name in self._vocabulary.text_tokens}

    def texts(self) -> Iterator[str]:
        """Yield texts of ordinary characters: all bytes, scripts, white space, and the map's own tokens."""
        # All characters of one and two bytes, then every 257th up to the ideographs beyond the BMP: a step
        # with which their last bytes, of 64 values, all occur.
        for start in range(0, 0x800, 16):
            yield self._spellable("".join(map(chr, range(start, start + 16))))
        for start in range(0x800, 0x30000, 0x101):
            yield self._spellable(chr(start) if not 0xD800 <= start < 0xE000 else "")
        for text in PROSE:
            yield self._spellable(text)
        for before in _SPACES:
            for after in _SPACES:
                yield self._spellable(f"a{before}b{after}\n{after}1{before}.")
        yield from map(self._spellable, self._tokens())
        for name, token in list(self._vocabulary.text_tokens.items())[:TOKENS_TRIED]:
            if not (token.lstrip or token.rstrip):  # the space that these take does not come back
                yield self._spellable(f"x{name}y {name} z")

    def around(self, names: Iterable[str]) -> Iterator[str]:
        """Yield texts in which tokens stand."""
        for name in islice(names, TOKENS_TRIED):
            yield f"{self._spellable('x')} {name}\n{name}" if self._spellable("\n ") else name

    def check_round_trip(self, text: str) -> None:
        """Encode a text as content, and decode it."""
        try:
            ids = self._tokenizer.encode_ordinary(text)
        except UnencodableTextError:
            return
        back = Detokenizer(self._map).render(ids)
        if not self._is_same(text, back, has_added=not self._text_ids.isdisjoint(ids)):
            raise MapBuildError(f"the map loses text: {text!r} comes back as {back!r}")

    def _is_same(self, text: str, back: str, *, has_added: bool) -> bool:
        expected = self._tokenizer.normalize(text)
        if self._marked:
            expected = expected.replace(METASPACE, " ")
        if self._tokenizer.cuts_at_spaces:
            expected = " ".join(_WORDS(expected))
        if self._vocabulary.trims_all_spaces:
            expected = expected.lstrip(" ")
        if has_added:
            # Each stretch between added tokens is normalized alone, and may get or lose a space of its own.
            return _bare(expected) == _bare(back)
        # Encoding puts a space before the text for every map with a prefix, and decoding takes that of U+2581
        # off again. Byte-level maps keep it, as their decoders do; only "always" has an effect there.
        if not self._marked and self._map.metaspace_prefix == "always" and expected[:1] not in ("", " "):
            expected = " " + expected
        # Before a text with a space none is put, and decoding removes one all the same: the text's own.
        if self._vocabulary.trims_first_space and self._vocabulary.facts.metaspace_prefix_once:
            expected = expected.removeprefix(" ")
        return back == expected

    def check_ids(self, text: str, expected: list[int]) -> None:
        """Compare the ids of a text with those of the reference."""
        try:
            ids = self._tokenizer.encode(text)
        except UnencodableTextError:
            return
        if ids != expected:
            raise MapBuildError(
                f"the map encodes {text!r} as {ids[:16]}, the reference tokenizer as {expected[:16]}"
            )

    def _spellable(self, text: str) -> str:
        """Return the text without characters that need a byte without a token."""
        normal = self._tokenizer.normalize
        return "".join(c for c in text if self._known.issuperset(normal(c).encode("utf-8", "replace")))

    def _tokens(self) -> Iterator[str]:
        vocabulary = self._vocabulary
        step = max(1, vocabulary.size // TOKENS_TRIED)
        for token_id in range(0, vocabulary.size, step):
            if vocabulary.is_valid(token_id) and token_id not in vocabulary.special_ids:
                text = vocabulary.token_bytes(token_id).decode("utf-8", "ignore")
                yield text.lstrip(WHITE_SPACE) if self._marked else text


_WORDS = re.compile(f"[^{WHITE_SPACE}]+").findall


def _bare(text: str) -> str:
    return "".join(normalized("NFKC", text).split())


def _known_bytes(tokenizer_map: TokenizerMap) -> frozenset[int]:
    """Return the bytes that the file has a token for, of whatever kind."""
    if tokenizer_map.encoder != "byte_level":
        return frozenset(range(256))
    vocab = (tokenizer_map.vocab or {}).keys() | (tokenizer_map.special_tokens or {}).keys()
    return frozenset(byte for byte, character in enumerate(ALPHABET) if character in vocab)


def reference_of(path: Path) -> Encode | None:
    """Return the encoding of the `tokenizers` package for a file.

    None where the package is not installed, or asks for fields that say nothing and that the file leaves out.
    """
    # Not a dependency: imported by name, so that nothing else comes to need it.
    if importlib.util.find_spec("tokenizers") is None:
        return None
    tokenizers = importlib.import_module("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except BaseException as error:
        if not _is_failure(error):
            raise
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(text: str) -> list[int]:
        try:
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if not _is_failure(error):
                raise
            raise MapBuildError(f"the reference tokenizer fails at {text!r}: {error}") from None
        return ids

    return encode


def _is_failure(error: BaseException) -> bool:
    """Return whether the package failed. Its panics are no `Exception`, and their type cannot be imported."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
