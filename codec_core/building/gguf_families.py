r"""The pre-tokenizers of GGUF files: what a name in `tokenizer.ggml.pre` stands for.

A GGUF file names its pre-tokenizer and does not state it. The facts here are those of llama.cpp, which serves
these files: where it cuts otherwise than the model's first tokenizer did, its cuts are the ones that count.
So contractions have no `ſ`, words of mixed case are told apart by ASCII letters alone, and white space beyond
ASCII is never within a set of characters that are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codec_core.building.pre_tokenizers import GPT_2_PATTERN
from codec_core.pretokenizer_program import DigitTriplesFromEnd, Stage


@dataclass(frozen=True, slots=True)
class Family:
    """How text is cut before it is merged.

    Attributes:
        cuts: patterns and stages, one after the other.
        ignores_merges: whether a piece that is a token skips the merges.
        marks_spaces: whether tokens are text with U+2581 for spaces, not bytes.
        keeps_newlines: whether a run of newlines that is a token skips the merges.
    """

    cuts: tuple[str | Stage, ...]
    ignores_merges: bool = False
    marks_spaces: bool = False
    keeps_newlines: bool = False


_CONTRACTIONS = r"'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"
_NO_LETTER = r"[^\r\n\p{L}\p{N}]?"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_MARKS = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_MARKS_AND_SLASHES = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_LLAMA_3 = rf"{_CONTRACTIONS}|{_NO_LETTER}\p{{L}}+|\p{{N}}{{1,3}}|{_MARKS}"
_QWEN_2 = rf"{_CONTRACTIONS}|{_NO_LETTER}\p{{L}}+|\p{{N}}|{_MARKS}"
_LINES = r"[^\n]+|\n+"
_CJK = "[\u4e00-\u9fa5\u3040-\u30ff]+"
_CJK_OR_OLDER = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff&&[^\s]]+"
_DEEPSEEK_WORDS = r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
_CASED_WORDS = (r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]")
_MARKED_WORDS = rf"{_NO_LETTER}[\p{{L}}\p{{M}}]+(?:{_CONTRACTIONS})?"
_HAN = (
    r"\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2ebef}"
    r"\x{2f800}-\x{2fa1f}"
)


def _cased(upper: str, lower: str, after: str) -> str:
    first, second = rf"{_NO_LETTER}{upper}*{lower}+{after}", rf"{_NO_LETTER}{upper}+{lower}*{after}"
    return f"{first}|{second}"


_GPT_2 = Family((GPT_2_PATTERN,))
_DIGITS_APART = Family((r"\p{N}", GPT_2_PATTERN))
_DEEPSEEK_3 = Family((r"\p{N}{1,3}", _CJK, rf"{_DEEPSEEK_WORDS}[\r\n]*|{_SPACES}"))
_BLOOM = Family((r" ?[^(\s|.,!?…。，、।۔،)]+",))
_GPT_4O = Family((_cased(*_CASED_WORDS, f"(?:{_CONTRACTIONS})?") + rf"|\p{{N}}{{1,3}}|{_MARKS_AND_SLASHES}",))
_LINE_BY_LINE = Family((_LINES,), marks_spaces=True)
_NUMBERS_FROM_END = DigitTriplesFromEnd("all", before=False, after=True)

_BY_NAMES: Mapping[str, Family] = {
    "default": Family((r"[\p{P}$+<=>^~|]+", GPT_2_PATTERN, r"\p{N}+", "[0-9][0-9][0-9]")),
    "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert": _GPT_2,
    "jina-v1-en jina-v2-code roberta-bpe exaone4 mpt olmo jais trillion granite-docling": _GPT_2,
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": _DIGITS_APART,
    "falcon": Family((r"[\p{P}$+<=>^~|`]+", GPT_2_PATTERN, "[0-9][0-9][0-9]")),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5": Family(
        (_LLAMA_3,), ignores_merges=True
    ),
    "dbrx smaug-bpe chatglm-bpe": Family((_LLAMA_3,)),
    "jais-2": Family(
        (
            (
                rf"{_CONTRACTIONS}|{_NO_LETTER}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
                r"|\s*[\r\n]+"
                r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)"
                r"|\s{4}(?!\S)|\s{1,2}(?!\S)|\s"
            ),
        )
    ),
    "minicpm5": Family(
        (r"\p{N}{1,3}", rf"{_CONTRACTIONS}|{_NO_LETTER}\p{{L}}+|\p{{N}}+|{_MARKS}"), ignores_merges=True
    ),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2": Family((_QWEN_2,)),
    "ufakzeka": Family((rf"{_NO_LETTER}\p{{L}}+|\p{{N}}|{_MARKS}",)),
    "laguna": Family((_LINES, _QWEN_2)),
    "bailingmoe bailingmoe2 llada-moe": Family((_QWEN_2,)),
    "qwen35": Family(
        (
            (
                rf"{_CONTRACTIONS}|{_NO_LETTER}[\p{{L}}\p{{M}}]+|\p{{N}}"
                rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
            ),
        )
    ),
    "seed-coder": Family(
        (
            (
                rf"{_CONTRACTIONS}|{_NO_LETTER}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+"
            ),
        )
    ),
    "exaone-moe": Family(
        (
            (
                rf"{_CONTRACTIONS}|{_NO_LETTER}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
            ),
        )
    ),
    "deepseek-llm": Family(
        (
            r"[\r\n]",
            (
                r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
                r"\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
                r"\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
                r"\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
                r"\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
                r"\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
                r"\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
                r"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
                r"\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
                r"\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
                r"\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}"
                r"\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+"
            ),
            r"\s?[!-/:-~！-／：-～‘-‟\u3001-。]+",
            r"\s+$",
            _CJK_OR_OLDER,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": Family((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_OR_OLDER, r"\p{N}")),
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": _DEEPSEEK_3,
    "spark2_5": Family((r"\p{N}{1,3}", _CJK, rf"{_DEEPSEEK_WORDS}|[\r\n]|\s+(?!\S)|\s+", r"\p{N}")),
    "youtu": Family(
        (
            "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
            rf"{_MARKED_WORDS}|\p{{N}}|{_MARKS_AND_SLASHES}",
        ),
        ignores_merges=True,
    ),
    "afmoe": Family(
        (
            _NUMBERS_FROM_END,
            (
                "[一-\u9fff㐀-\u4dbf豈-\ufaff\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2fdfเ-\u0e7f\u0e80-\u0effក-\u17ffက-\u109f"
                "ꩠ-\uaa7fꧠ-\ua9ff가-\ud7afᄀ-\u11ff]+"
            ),
            rf"{_DEEPSEEK_WORDS}[\r\n]*|{_SPACES}",
        )
    ),
    "tiny_aya cohere2moe": Family(
        (_NUMBERS_FROM_END, rf"{_MARKED_WORDS}|\p{{N}}{{1,3}}|{_MARKS_AND_SLASHES}")
    ),
    "superbpe": Family((r"\p{N}+", DigitTriplesFromEnd("ascii", before=True, after=False))),
    "bloom poro-chat gpt3-finnish": _BLOOM,
    "viking": Family((*_BLOOM.cuts, r"\p{N}")),
    "tekken": Family((_cased(*_CASED_WORDS, "") + rf"|\p{{N}}|{_MARKS_AND_SLASHES}",), ignores_merges=True),
    "gpt-4o llama4 kanana2 talkie minimax-m2": _GPT_4O,
    "granite-embed-multi-97m": Family(
        (
            _cased(r"[\p{L}\p{M}&&[^a-z]]", r"[\p{L}\p{M}&&[^A-Z]]", f"(?:{_CONTRACTIONS})?")
            + rf"|\p{{N}}{{1,3}}|{_MARKS_AND_SLASHES}",
        ),
        ignores_merges=True,
    ),
    "kimi-k2": Family(
        (rf"[{_HAN}]+|{_NO_LETTER}[\p{{L}}&&[^{_HAN}]]+(?:{_CONTRACTIONS})?|\p{{N}}{{1,3}}|{_MARKS}",)
    ),
    "chameleon": Family(
        (
            "<sentinel:[0-9]+>",
            "(?:IMGIMG)[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT_2_PATTERN,
        )
    ),
    "gemma4 granite-embed-multi-311m": Family((_LINES,), marks_spaces=True, keeps_newlines=True),
    "sarvam-moe": _LINE_BY_LINE,
}

FAMILIES: Mapping[str, Family] = {
    name: family for names, family in _BY_NAMES.items() for name in names.split()
}
"""By `tokenizer.ggml.pre`."""

REFUSED: Mapping[str, str] = {
    "whitespace": "it leaves white space out, so that no text comes back",
    "bert": "WordPiece lowers case and leaves white space out, so that no text comes back",
    "rwkv": "its tokens are looked for byte by byte, within characters",
    "plamo2": "it takes the best of all divisions by scores of its own",
    "mmbert": "it puts a space before each line, so that no line comes back as it was",
    "hybriddna": "it counts off sequences of DNA six by six",
}
"""Tokenizers, by `tokenizer.ggml.model` or `pre`, that no map can state, and why."""
