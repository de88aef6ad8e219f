"""Rules of normalization in a `tokenizer.json`, held equal to the reference."""

from base64 import b64encode
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from codec_core.building import build_from_tokenizer_json
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError, UnencodableTextError
from codec_core.maps import TokenizerMap, parse_map
from codec_core.text_stream import text_stream
from codec_core.tokenizer import pick_tokenizer
from codec_core.unicode.generate_graphemes import TARGET, module_text
from codec_core.unicode.grapheme_rules import GraphemeRules
from codec_core.unicode.replacement_rules import ReplacementRules
from codec_core.unicode.rule_stream import RuleStream
from tests.core.building.test_normalizer_rules import RULES, circle, table
from tests.texts import random_cuts

BASES = "ab\r\n\x01\xa9\xae\u2600\u0915\u0958\u1100\u1161\u11a8\uac00\uac01\u0d15\u3042\xe9"
MARKS = "\u0301\u0308\u20d0\u200d\u094d\u0d4d\u093f\u0e33\u200c\xad"
PREPENDED = "\u0600\u0d4e\U000110bd"
WITHOUT_RULES = [
    *(
        "x",
        "c",
        "\u0300",
        "\u0903",
        "\U0001f1e6",
        "\U0001f1e7",
        "\U0001f468",
        "\U0001f3fb",
        "\ufe0f",
        "\u4e00",
    ),
    *("\u1173", "\u0bcd", "\u0b95", "\U00016d63", "\U00016d67", "\x00"),
]
CLUSTER_RULES = {
    character: chr(0x410 + number) for number, character in enumerate(BASES + MARKS + PREPENDED)
} | {
    "c\u0301": "Z",
    "c\u0301\u0302": "Y",
    "\u4e00": "",
}


@cache
def cluster_rules() -> tuple[GraphemeRules, normalizers.Normalizer]:
    data = table(CLUSTER_RULES)
    return GraphemeRules(ReplacementRules(data)), normalizers.Precompiled(data)


CLUSTERS = {
    "a\u0301": "\u0410",  # the rule for the letter takes the accent along
    "a\u0301\u0301": "\u0410",
    "a\u0301\u0301\u0301": "\u0410\u0422\u0422\u0422",  # seven bytes: each character by itself
    "x\u0301": "x\u0422",
    "c\u0301\u0302": "Z",  # the shortest rule counts
    "c\u0301\u0301\u0301": "c\u0422\u0422\u0422",  # and none of several characters in a longer cluster
    "\r\n\r": "\u0412\u0412",
    "\u0301a": "\u0422\u0410",
    "\x01\u0301": "\u0414\u0422",
    "\u0600a": "\u042c",
}


def test_short_clusters_are_replaced_as_a_whole():
    rules, reference = cluster_rules()
    for text, expected in CLUSTERS.items():
        assert rules.apply(text) == reference.normalize_str(text) == expected, ascii(text)


@pytest.mark.parametrize("count", [200, pytest.param(30_000, marks=pytest.mark.slow)])
def test_rules_apply_as_in_the_reference_however_a_text_is_cut(count):
    rules, reference = cluster_rules()
    random, pool = Random(count), [*BASES, *MARKS, *PREPENDED, *WITHOUT_RULES]
    for _ in range(count):
        text = "".join(random.choices(pool, k=random.randrange(1, 10)))
        expected = reference.normalize_str(text)
        assert rules.apply(text) == expected, ascii(text)
        stream = RuleStream(rules)
        parts = ["".join(part) for part in random_cuts(random, list(text))]
        assert "".join(map(stream.feed, parts)) + stream.flush() == expected, ascii(text)


def test_a_cluster_without_end_takes_linear_time():
    rules, _ = cluster_rules()
    looked_at = 0

    class Counting:
        def apply_settled(self, text, *, final, kept=None):
            nonlocal looked_at
            looked_at += len(text)
            return rules.apply_settled(text, final=final, kept=kept)

    stream = RuleStream(Counting())
    given = "".join(stream.feed("\u0301") for _ in range(4_000))
    assert given + stream.flush() == "\u0422" * 4_000
    assert looked_at < 100_000


@pytest.mark.slow
def test_the_tables_are_those_of_the_reference():
    assert TARGET.read_text(encoding="utf-8") == module_text()


PIECES = [
    ("<unk>", 0.0),
    *(
        (piece, -1.0 - number / 8)
        for number, piece in enumerate(["▁", *"abfi12AEé\u2044\n\t\u0301", "▁a", "fi", "▁▁"])
    ),
]
MERGED, MARKED = (normalizers.Replace(Regex(" {2,}"), content) for content in (" ", "▁"))
STRIPPED = normalizers.Strip(left=False, right=True)
FORMS = {
    "as T5 and XLM-R have it": ([], [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    "as older files have it": ([], [pre_tokenizers.Metaspace()]),
    "as NLLB and mBART have it": ([MERGED], [pre_tokenizers.Metaspace()]),
    "as files that are converted have it": ([STRIPPED, MARKED], [pre_tokenizers.Metaspace()]),
    "words merged": ([MERGED], [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    "never prefixed": ([STRIPPED, MARKED], [pre_tokenizers.Metaspace(prepend_scheme="never")]),
    "prefixed first": ([MERGED], [pre_tokenizers.Metaspace(prepend_scheme="first")]),
    "not split": ([STRIPPED, MARKED], [pre_tokenizers.Metaspace(split=False)]),
    "marked by the normalizer": ([MERGED, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")], []),
}


@cache
def built_as(form: str) -> tuple[Tokenizer, TokenizerMap]:
    """Return a tokenizer of the reference, and the map of its file: building takes half a second."""
    reference = Tokenizer(models.Unigram(PIECES, unk_id=0))
    behind, cuts = FORMS[form]
    reference.normalizer = normalizers.Sequence([normalizers.Precompiled(table(RULES)), *behind])
    if cuts:
        reference.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    reference.add_special_tokens(
        [
            AddedToken("<unk>", normalized=False),
            AddedToken("<mask>", lstrip=True, normalized=True),
            AddedToken("<s>", normalized=False),
        ]
    )
    reference.add_tokens([AddedToken("[b]", normalized=False), AddedToken("[a]", normalized=True)])
    with TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        reference.save(str(path))
        return reference, parse_map(build_from_tokenizer_json(path, map_id="test/precompiled"))


QUICK = ("as T5 and XLM-R have it",)


@pytest.mark.parametrize(
    ("form", "count"),
    [*((form, 40) for form in QUICK), *(pytest.param(form, 400, marks=pytest.mark.slow) for form in FORMS)],
)
def test_ids_equal_the_reference(form, count):
    reference, built = built_as(form)
    tokenizer, random, compared = pick_tokenizer(built), Random(form), 0
    pool = [
        *RULES,
        *"abfi12",
        " ",
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "\u0301",
        "<mask>",
        "<s>",
        "[a]",
        "[b]",
        "\u2581",
    ]
    for _ in range(count):
        text = "".join(random.choices(pool, k=random.randrange(10)))
        expected = reference.encode(text, add_special_tokens=False).ids
        try:
            ids = tokenizer.encode(text)
        except UnencodableTextError:
            assert 0 in expected, ascii(text)
            continue
        compared += 1
        assert ids == expected, ascii(text)
        stream = text_stream(tokenizer, control=True)
        parts = ["".join(part) for part in random_cuts(random, list(text))]
        assert [n for part in parts for n in stream.feed(part)] + stream.finish() == ids, parts
    assert compared > count // 3


def test_words_are_settled_at_white_space():
    _, built = built_as("as T5 and XLM-R have it")
    tokenizer = pick_tokenizer(built)
    stream = text_stream(tokenizer)
    first = stream.feed("ab \ufb01 a")
    assert Detokenizer(built).render(first) == "ab fi"
    assert first + stream.feed("b") + stream.finish() == tokenizer.encode_ordinary("ab fi ab")


@pytest.mark.parametrize(
    ("normalizer", "cuts", "reason"),
    [
        ({"type": "Precompiled", "precompiled_charsmap": "?"}, None, "no base64"),
        ({"type": "Precompiled", "precompiled_charsmap": None}, None, "are damaged: 0 bytes"),
        ({"type": "Precompiled", "precompiled_charsmap": b64encode(circle()).decode()}, None, "a circle"),
        ({"type": "Strip", "strip_left": True, "strip_right": True}, None, "white space before the text"),
        ([MERGED, STRIPPED], None, "'Strip' behind another"),
        ([MERGED, MERGED], None, "'Replace' behind another"),
        ([normalizers.NFC(), STRIPPED], None, "'Strip' behind another"),
        ([STRIPPED], "words", "may hold U\\+2581"),
        ([normalizers.Precompiled(table({"x": "▁"}))], "words", "may hold U\\+2581"),
        ([normalizers.Precompiled(table(RULES)), MARKED], "words", "may hold U\\+2581"),
        ([normalizers.Precompiled(table(RULES))], "never", "without a mark"),
    ],
)
def test_what_has_no_form_is_refused(normalizer, cuts, reason, tmp_path):
    if isinstance(normalizer, list):
        normalizer = msgspec.json.decode(normalizers.Sequence(normalizer).__getstate__())
    marks = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": "never" if cuts == "never" else "always",
    }
    steps = [{"type": "WhitespaceSplit"}, marks] if cuts else [marks]
    file = {
        "model": {"type": "Unigram", "unk_id": 0, "vocab": PIECES},
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
    }
    (tmp_path / "tokenizer.json").write_bytes(msgspec.json.encode(file))
    with pytest.raises(MapBuildError, match=reason):
        build_from_tokenizer_json(tmp_path / "tokenizer.json", map_id="test/precompiled")


def test_a_map_with_rules_that_contradict_is_refused():
    document = {"id": "a/b", "version": "2", "vocab_size": 1, "vocab": {"a": 0}, "encoder": "metaspace"}
    for rules, reason in (
        ({"by_cluster": True, "kept": ["a"]}, "keep no texts"),
        ({"collapses_spaces": True, "strips_end": True}, "collapse, or are merged"),
        ({"merged_spaces": "x"}, r"a space or U\+2581"),
    ):
        stated = document | {"normalizer": "rules", "normalizer_rules": rules}
        with pytest.raises(TokenizerMapValidationError, match=reason):
            pick_tokenizer(TokenizerMap.from_json(stated))
