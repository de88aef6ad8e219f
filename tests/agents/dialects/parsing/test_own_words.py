"""System texts in words that the family writes too."""

from __future__ import annotations

import pytest

from codec_agents.dialects import BoundDialect, Message, get_dialect
from tests.agents.dialects.families import TOOLS, small_map_of


@pytest.mark.parametrize("with_tools", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("glm-5.2", "Reasoning Effort: Maximal care, please."),
        ("glm-5.2", "Reasoning Effort: Max"),
        ("inkling", "Thinking effort level: 0.9"),
        ("inkling", "Thinking effort level: 0.95"),
    ],
)
def test_a_turn_of_the_chat_that_begins_as_one_of_the_family_is_read_whole(
    name: str, text: str, with_tools: bool
) -> None:
    """No token ends a turn of GLM: what goes on is another text, and what is there again is the chat's."""
    dialect = BoundDialect(get_dialect(name), small_map_of(name), TOOLS if with_tools else ())
    messages = [Message(role="system", content=text), Message(role="user", content="Hi")]
    read = dialect.read(dialect.write(messages))
    assert list(read.messages) == messages
    assert (read.tools is not None) == with_tools
