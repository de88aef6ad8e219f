"""Generated answers of every sort that models write: prose, code, other scripts, emoji, odd white space."""

from __future__ import annotations

import random
import unicodedata

_PROSE = """The flight from Lisbon leaves at nine, and it's the cheapest; we've checked twice. Don't wait!
Über die Brücke führt naïve Façade. Ελληνικά γράμματα και русский текст. عربي عبرית हिन्दी ไทย 한국어
日本語の文章、漢字とかな。 中文句子。 I'LL they'Re 'tis ... -- — “quoted” (a) [b] {c} <d>
12345 3.14159 1,000,000"""
_WORDS = _PROSE.split()
_CODE = (
    "def f(x):\n    return x ** 2\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\r\n",
    'SELECT * FROM "t" WHERE a >= 1;',
    '{"a": [1, 2.5, null], "b\\n": "\\u00e9"}',
    "    if x:\n\n\n        pass\n",
    "https://example.org/a?b=c&d=%20#e",
)
_EMOJI = (
    "🙂",
    "👩‍👩‍👧",
    "🇵🇹",
    "👍🏽",
    "☕️",
    "🦙",
    "a\u0301\u0323",
    "é",
    "ﬁ",
    "\u200b",
    "\u00a0",
    "𝔘𝔫𝔦",
    "𠮷",
)
_SPACE = (" ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", "   \n", "\u3000", "\u2009", "     ")


def answer(seed: int) -> str:
    """Return one answer; the same seed gives the same answer, in Unicode's composed form."""
    draw = random.Random(seed)
    parts: list[str] = []
    for _ in range(draw.randrange(1, 40)):
        kind = draw.random()
        pool = _WORDS if kind < 0.6 else _CODE if kind < 0.7 else _EMOJI if kind < 0.85 else _SPACE
        parts.append(draw.choice(pool))
        if draw.random() < 0.6:
            parts.append(draw.choice(_SPACE) if draw.random() < 0.3 else " ")
    return unicodedata.normalize("NFC", "".join(parts)) or "."
