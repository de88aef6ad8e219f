"""Content that is nested without end is text: results of tools, and what a user wrote beside tools."""

from __future__ import annotations

import pytest

from codec_agents.dialects import BoundDialect, Message, MessageCall, get_dialect
from codec_agents.dialects.registry import built_in
from tests.agents.dialects.families import TOOLS, each, small_map_of

NAMES = sorted(name for name, dialect in built_in().items() if dialect.turn_starts)
DEEP = ["[" * 3000, "[" * 700 + "]" * 700, '{"a":' * 1500]


@pytest.mark.parametrize("name", each(NAMES))
def test_nested_content_is_written_and_read(name: str) -> None:
    found = get_dialect(name)
    dialect = BoundDialect(found, small_map_of(name), TOOLS if found.tools else ())
    call = MessageCall("f", {"a": 1}, "c12345678", '{"a": 1}')
    for content in DEEP:
        messages = [
            Message(role="user", content=content),
            Message(role="assistant", content="", calls=(call,)),
            Message(role="tool", content=content, call_id="c12345678", name="f"),
        ]
        read = dialect.read(dialect.write(messages if found.tools else messages[:1]))
        assert any(content in message.content for message in read.messages)
