"""Random texts that hold what tokenizers get wrong: scripts, marks, white space, look-alikes, long runs."""

# ruff: noqa: E501 - lists of fragments read best in long lines
from random import Random

FRAGMENTS = [
    "Hello", " world", "the", " The", "ing", " naïve", "Ünïcödé", "don't", "WE'LL", "I've", "it'S", "'s", "'ll", "'", "''",
    "'ſ", "ſ", "'r", "'RE", "0", "1", "42", "123", "1234", "1234567", " 7", "  12", "٣٤", "½", "Ⅷ", "1.5e-3", "²",
    " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", " \t ", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u2003", "\u3000",
    "\u2028", "\u200b", "\ufeff", "\x00", "\x01", "\x1c", "\x1f", "\x7f", "...", "!!", " --", "(", ")", "{", "}", "[];", "==>", "/*", "*/\n",
    "#include <stdio.h>\n", "    return x;\n", "def f(a, b):\n\treturn a+b\n", "日本語", "漢字", "天気は", "カタカナ", "한국어", "각",
    "\u1112\u1161\u11ab", "русский", " язык", "العربية", "עברית", "हिन्दी", "ไทย", "தமிழ்", "ქართული", "ಕನ್ನಡ", "አማርኛ", "e\u0301",
    "a\u0323\u0307", "a\u0307\u0323", "\u0301", "\u0345\u0301", "\u0bc6\u0bbe", "👩🏽‍💻", "🇩🇪", "❤️", "🧳", "🏳️‍🌈", "𝔘𝔫𝔦", "𝟘𝟙", "𠀀𠀁", "𞤀𞤢", "\U000e0061", "\U0010ffff",
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<|eot_id|>", "[INST]", "<|end|>", "<|im_", "|>", "<0x0A>", "<0xE2>",
    "▁", "▁▁", " ▁", "▁a", "Ġ", "Ċ", "<tool_call>", "\ufffd", "\ue000", "\uffff", "aaaaaaaaaaaa", "ababababab", "xyzzy", "ΑΒΓ", "ǅ", "ʰ", "_", "__init__", "€", "©", "™", "“q”", "—",
]  # fmt: skip


def random_text(random: Random, most: int = 24) -> str:
    """Return a text of some fragments, sometimes with random characters between them."""
    parts = []
    for _ in range(random.randint(0, most)):
        kind = random.random()
        if kind < 0.86:
            parts.append(random.choice(FRAGMENTS))
        elif kind < 0.93:
            parts.append(random_character(random) * random.choice((1, 1, 2, 5)))
        else:
            parts.append(random.choice(" \n\t\r'aA1!") * random.randint(1, 9))
    return "".join(parts)


def random_character(random: Random) -> str:
    """Return any character that is no surrogate."""
    while True:
        point = random.choice((random.randrange(0x250), random.randrange(0x3000), random.randrange(0x110000)))
        if not 0xD800 <= point < 0xE000:
            return chr(point)


def random_cuts(random: Random, items: list[int]) -> list[list[int]]:
    """Return the items in order, divided at random places; some parts are empty."""
    parts = []
    start = 0
    step = random.choice((1, 2, 3, 8, 30))
    while start < len(items):
        stop = min(len(items), start + random.randint(0, step))
        parts.append(items[start:stop])
        start = stop
    return parts
