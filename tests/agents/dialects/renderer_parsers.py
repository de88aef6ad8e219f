"""The parsers of the packages `renderers` and `openai-harmony`, which read the turns of dialects."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.agents.dialects.readings import TOOLS, Parser, Said, Turn, bound
from tests.agents.dialects.references import Source
from tests.agents.dialects.renderer_reference import SmallTokenizer, kind_of


def reading_of(parser: Parser) -> Callable[[Turn], dict[str, Any]]:
    """Return what reads turns as the package does that the parser names."""
    return partial(harmony_reading if parser.engine == "openai-harmony" else renderer_reading, parser)


def renderer_reading(parser: Parser, turn: Turn) -> dict[str, Any]:
    """Return what a renderer reads in a turn."""
    from renderers.base import create_renderer

    kind = kind_of(parser.calls)
    fields = dict(parser.modes.get(turn.thinking or "default", {}))
    if "enable_thinking" in kind.model_fields and turn.thinking is not None:
        fields = {"enable_thinking": turn.thinking != "off", **fields}
    source = Source(parser.dialect, renderer=parser.calls, without=parser.without)
    renderer = create_renderer(SmallTokenizer(source), kind(**fields))
    try:
        parsed = renderer.parse_response(
            turn.ids, tools=[each.schema() for each in TOOLS], prompt_ids=turn.prompt
        )
        calls = tuple((call.name or "", _arguments(call.arguments)) for call in parsed.tool_calls)
    except Exception as error:  # whatever a parser raises is its reading
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return Said(parsed.content or "", parsed.reasoning_content or "", calls).document()


def harmony_reading(parser: Parser, turn: Turn) -> dict[str, Any]:
    """Return what the models' own package reads in a turn of gpt-oss."""
    from openai_harmony import HarmonyEncodingName, Role, load_harmony_encoding

    from tests.agents.dialects.real_ids import provide_harmony_ranks

    provide_harmony_ranks()
    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    bench = bound(parser.dialect, parser.without)
    names = {number: name for name, number in bench.vocabulary.special_tokens.items()}
    ids: list[int] = []
    text: list[int] = []

    def spell() -> None:
        # Text that spells a control token is text for the package as well.
        ids.extend(encoding.encode(bench.spelled(text), disallowed_special=()))
        text.clear()

    for number in turn.ids:
        if number in names:
            spell()
            ids.extend(encoding.encode(names[number], allowed_special="all"))
        else:
            text.append(number)
    spell()
    said: dict[str, list[str]] = {"final": [], "analysis": []}
    calls: list[tuple[str, dict[str, Any]]] = []
    for message in encoding.parse_messages_from_completion_tokens(ids, Role.ASSISTANT):
        told = "".join(part.text for part in message.content)
        if message.recipient:
            calls.append((message.recipient.removeprefix("functions."), json.loads(told)))
        else:
            said["analysis" if message.channel == "analysis" else "final"].append(told)
    return Said("".join(said["final"]), "".join(said["analysis"]), tuple(calls)).document()


def _arguments(told: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told) if isinstance(told, str) else told or {}
    return found
