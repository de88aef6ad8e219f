"""Dialects write what the models' own templates and other implementations of them write."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby

import pytest
import yaml

from codec_agents.dialects.grammars import GRAMMARS
from codec_agents.dialects.pieces import Literal, Marker, parse_pieces
from codec_agents.dialects.registry import built_in
from codec_agents.dialects.templates.chat_template import derive_from_config
from codec_core.detokenizer import Detokenizer
from codec_core.maps import TokenizerMap
from tests.agents.dialects import family_tables
from tests.agents.dialects.families import TOLD_TOOLS
from tests.agents.dialects.families import each as quick_or_slow
from tests.agents.dialects.real_ids import DIGESTS, compared, digest, ids_of
from tests.agents.dialects.references import (
    FOLDER,
    Conversation,
    Source,
    bound,
    conversations,
    reason,
    recorded,
    sources,
    written,
)
from tests.conftest import REPOSITORY

SOURCES = sources()
KEPT_IDS: dict[str, dict[str, str]] = yaml.safe_load(DIGESTS.read_text(encoding="utf-8"))
"""Digests of ids that references gave (`python -m tests.family_vectors ids`), and the maps they are of."""


def pieces(source: Source, conversation: Conversation) -> list[Marker | Literal]:
    """Return a prompt as a dialect writes it: control tokens, and the texts between them."""
    vocabulary = bound(source, conversation).vocabulary
    names = {number: marker for marker, number in vocabulary.special_tokens.items()}
    found: list[Marker | Literal] = []
    for marked, group in groupby(written(source, conversation)[0], names.__contains__):
        ids = list(group)
        if marked:
            found += [Marker(names[each]) for each in ids]
        else:
            found.append(Literal(Detokenizer(vocabulary).render(ids)))
    return found


def expected(source: Source, text: str) -> list[Marker | Literal]:
    """Return the control tokens and texts of what a reference writes."""
    markers = [each for each in built_in()[source.dialect].all_markers() if each not in source.without]
    return [each for each in parse_pieces(text, markers) if isinstance(each, Marker | Literal)]


def spread() -> list[object]:
    """Return the sources as parameters; those of dialects that are not among the quick ones are slow."""
    quick = [name for name in quick_or_slow({source.dialect for source in SOURCES}) if isinstance(name, str)]
    return [
        pytest.param(source, id=source.name, marks=() if source.dialect in quick else pytest.mark.slow)
        for source in SOURCES
    ]


def test_vectors_hold_the_conversations_that_are_compared() -> None:
    for source in SOURCES:
        told = [each.name for each in conversations(source) if reason(source.skips, each.name) is None]
        assert list(recorded(source)) == told, source.name


@pytest.mark.parametrize("source", spread())
def test_prompts_are_those_of_the_reference(source: Source) -> None:
    told = {each.name: each for each in conversations(source)}
    for name, text in recorded(source).items():
        ours, theirs = pieces(source, told[name]), expected(source, text)
        if why := reason(source.differs, name):
            assert ours != theirs, f"{name} agrees now: take out {why!r}"
        else:
            assert ours == theirs, name


@pytest.mark.parametrize("name", KEPT_IDS)
def test_ids_are_those_of_the_models_own_tokenizer(
    name: str, shared_map: Callable[[str], TokenizerMap]
) -> None:
    source = next(each for each in SOURCES if each.name == name)
    digests = dict(KEPT_IDS[name])
    tokenizer_map = shared_map(digests.pop("map"))
    found = {each.name: digest(ids_of(source, each, tokenizer_map)) for each, _ in compared(source)}
    assert found == digests


def test_sources_and_their_vectors_are_the_same() -> None:
    assert sorted(f"{source.name}.yaml" for source in SOURCES) == sorted(
        path.name for path in FOLDER.iterdir()
    )


def test_each_reason_is_of_a_conversation() -> None:
    for source in SOURCES:
        names = [each.name for each in conversations(source)]
        for pattern in (*source.differs, *source.skips):
            assert any(reason({pattern: "x"}, name) for name in names), (source.name, pattern)


def test_every_dialect_has_a_reference_or_says_what_is_not_verified() -> None:
    referenced = {source.dialect for source in SOURCES}
    for name, dialect in built_in().items():
        told = any(
            each.startswith(("all prompts", "conversations other than")) for each in dialect.unverified
        )
        assert name == "plain" or told == (name not in referenced), name


def test_every_dialect_has_vectors_of_its_prompts() -> None:
    told = {source.dialect for source in SOURCES if not source.untold} | TOLD_TOOLS.keys()
    for name, dialect in built_in().items():
        assert name in told or dialect.tools is None, name


def test_every_grammar_is_named_in_the_page_of_dialects() -> None:
    page = (REPOSITORY / "docs" / "dialects.md").read_text(encoding="utf-8")
    named = page.partition("Grammars by name:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([\w-]+)`", named)) == GRAMMARS.keys()


def test_tables_are_those_of_the_data() -> None:
    made = "run `python -m tests.family_vectors tables`"
    assert family_tables.PAGE.read_text(encoding="utf-8") == family_tables.page(), made
    assert family_tables.MODULE.read_text(encoding="utf-8") == family_tables.module(), made


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [each for each in SOURCES if each.template], ids=lambda source: source.name
)
def test_vectors_of_templates_are_up_to_date(source: Source) -> None:
    pytest.importorskip("jinja2", reason="the extra `templates` is not installed")
    from tests.agents.dialects.template_archive import template
    from tests.family_vectors import template_texts

    try:
        template(source.package, source.template)
    except OSError as error:
        pytest.skip(str(error))
    assert template_texts(source) == recorded(source)  # an error of the process that renders is no reason


EDITED = {
    "mistral_v7_tekken.jinja": "own-template",  # knows no tools, by whose marks the family is recognized
    "Qwen-QwQ-32B.jinja": "qwen3",  # was given Qwen 3's switch for reasoning
    "command_a_tool_use.jinja": "command-r7b",  # of both models, the template is the same
}
"""The family of templates that packages changed or wrote: as which they are recognized."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [each for each in SOURCES if each.template], ids=lambda source: source.name
)
def test_families_are_known_by_their_templates(source: Source) -> None:
    pytest.importorskip("jinja2", reason="the extra `templates` is not installed")
    from tests.agents.dialects.template_archive import template

    try:
        text = template(source.package, source.template)
    except OSError as error:
        pytest.skip(str(error))
    expected = EDITED.get(source.template, source.dialect)
    assert derive_from_config({"chat_template": text})[0].name == expected
