"""A model's own Jinja chat template beside the dialect: which family it is, and where the two disagree.

Prompts are never made by templates: they are rendered to derive a dialect, or for the check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.registry import get_dialect
from codec_agents.dialects.templates.called_chats import called_chats
from codec_agents.dialects.templates.own_template import dialect_of_templates
from codec_agents.dialects.templates.response_template import ResponseMarks, differences, response_marks
from codec_agents.dialects.templates.telltales import TELLTALES
from codec_agents.dialects.templates.template_process import (
    TemplateFailedError,
    TemplateProcess,
    template_of,
)
from codec_agents.dialects.templates.template_turns import FIRST, SECOND, TOOLS, TemplateTurns
from codec_agents.dialects.writing.tool_forms import openai_tool
from codec_agents.exceptions import DialectError
from codec_agents.graph.chat import Chat
from codec_agents.graph.messages import chat_messages
from codec_agents.graph.templates import Slot, parse_template
from codec_agents.graph.turns import ChatTurn
from codec_agents.tools.calls import Attempt, ToolCall
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect

EXCERPT = 40
"""Characters on either side of a disagreement."""


def derive_from_config(config: Mapping[str, Any]) -> tuple[Dialect, str]:
    """Return the dialect that a `tokenizer_config.json` shows; and why.

    A family that its chat template gives away is that family; a `response_template` that marks turns
    otherwise is told with it. For any other, the pieces of turns are found by rendering the chat template,
    and the marks of reasoning and calls are those of the response template.

    Raises:
        DialectError: there is no chat template, or it is no known family's and cannot be taken apart.
    """
    template, marks = template_of(config), response_marks(config)
    for strings, name in TELLTALES:
        if all(string in template for string in strings):
            dialect = get_dialect(name)
            shown = ", ".join(repr(string) for string in strings)
            said = [] if marks is None else list(differences(dialect, marks))
            told = f"; its response template says otherwise: {'; '.join(said)}" if said else ""
            return dialect, f"the chat template holds {shown}{told}"
    return dialect_of_templates(config, marks), _why(marks)


def _why(marks: ResponseMarks | None) -> str:
    turns = "its turns as the chat template writes them"
    if marks is None:
        return f"{turns}; without a response template no reasoning and no calls are known"
    read = {"reasoning": marks.thinking, "calls": marks.calls}
    found = [name for name, mark in read.items() if mark is not None]
    said = f"{' and '.join(found)} as the response template marks them" if found else "nothing else"
    unread = f"; {', '.join(marks.unread)} cannot be read from it" if marks.unread else ""
    return f"{turns}; {said}{unread}"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a dialect and a chat template write the same conversation differently.

    Fields:
        conversation: which conversation it was.
        position: the character at which they part.
        dialect: what the dialect writes there.
        template: what the template writes there, or how it failed.
    """

    conversation: str
    position: int
    dialect: str
    template: str

    def __str__(self) -> str:
        return (
            f"{self.conversation}: at character {self.position} the dialect writes {self.dialect!r}, "
            f"the chat template {self.template!r}"
        )


def check_template(
    bound: BoundDialect, config: Mapping[str, Any], chat: Chat | None = None
) -> list[Disagreement]:
    """Compare a dialect with a model's chat template, for usual conversations or for a declared one.

    Args:
        bound: the dialect; its tools take part.
        config: the model's `tokenizer_config.json`.
        chat: a conversation without slots; None for a few usual ones.

    Raises:
        DialectError: jinja2 is not installed, or there is no template.
    """
    chats = {"the declared chat": chat} if chat is not None else {**_CHATS, **called_chats(bound)}
    return _check(bound, config, chats, results=chat is None)  # a declared chat is compared alone


def check_template_like(bound: BoundDialect, config: Mapping[str, Any], chat: Chat) -> list[Disagreement]:
    """Compare a dialect with a model's chat template, in conversations of the shape of a declared one.

    The declared one may have slots, and so cannot be rendered itself.

    Args:
        bound: the dialect; its tools take part.
        config: the model's `tokenizer_config.json`.
        chat: decides whether the conversations have a system text, and what is said of reasoning.

    Raises:
        DialectError: jinja2 is not installed, or there is no template.
    """
    system = None if chat.system is None else "Be brief."
    like = {"system": system, "thinking": chat.thinking}
    chats = {**_CHATS_OF_USERS, **called_chats(bound)}
    return _check(bound, config, {name: each.model_copy(update=like) for name, each in chats.items()})


def _check(
    bound: BoundDialect, config: Mapping[str, Any], chats: Mapping[str, Chat], *, results: bool = True
) -> list[Disagreement]:
    with TemplateProcess(config) as template:
        found = [_compare(name, bound, template, each) for name, each in chats.items()]
        if results and bound.tools:
            found.append(_compare_results(bound, TemplateTurns(config, template)))
    return [disagreement for disagreement in found if disagreement is not None]


_EARLIER = (ChatTurn(role="user", content="Hi"), ChatTurn(role="assistant", content="Hello"))
_CHATS: Mapping[str, Chat] = {
    "user": Chat(user="Hello there"),
    "system and user": Chat(system="Be brief.", user="Hello there"),
    "several turns": Chat(system="Be brief.", turns=_EARLIER, user="How are you?"),
}
_CHATS_OF_USERS: Mapping[str, Chat] = {
    "one turn": Chat(user="Hello there"),
    "several turns": Chat(turns=_EARLIER, user="How are you?"),
}


def _compare(name: str, bound: BoundDialect, template: TemplateProcess, chat: Chat) -> Disagreement | None:
    ids = bound.template(chat).render({})
    ours = Detokenizer(bound.vocabulary).render(ids, render_special=True)
    try:
        theirs = template.render(_messages(chat), list(map(openai_tool, bound.tools.values())), chat.thinking)
    except TemplateFailedError as error:
        return Disagreement(name, 0, ours[:EXCERPT], str(error))
    if pick_tokenizer(bound.vocabulary).encode(theirs) == list(ids):
        return None  # in some vocabularies a text between control tokens is shown with a space before it
    return _parting(name, ours, theirs)


def _compare_results(bound: BoundDialect, template: TemplateTurns) -> Disagreement | None:
    """Compare what follows a turn with two calls, where the template tells anything of results."""
    try:
        turns = template.turns()
    except DialectError:  # where turns begin and end is not found: nothing to compare the results with
        return None
    form = template.results(turns)
    if form is None or bound.dialect.results is None:
        return None
    # With the ids of the calls that the template is rendered with.
    calls = [ToolCall(0, tool["function"]["name"], {}, f"call0000{n}", "") for n, tool in enumerate(TOOLS)]
    attempts = [Attempt(call, "ok", text) for call, text in zip(calls, (FIRST, SECOND), strict=True)]
    added = bound.extend([], "stop", attempts)  # behind no ids, so that the turn's end is written too
    ours = Detokenizer(bound.vocabulary).render(added, render_special=True)
    told = f"{form.open}{FIRST}{form.join}{SECOND}{form.close}"
    opening = turns.opening if form.then == "opening" else ""
    return _parting("results of two tools", ours, f"{turns.answer_suffix}{told}{opening}")


def _parting(name: str, ours: str, theirs: str) -> Disagreement | None:
    if ours == theirs:
        return None
    place = next(
        (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    begin = max(0, place - EXCERPT)
    return Disagreement(name, place, ours[begin : place + EXCERPT], theirs[begin : place + EXCERPT])


def _messages(chat: Chat) -> list[dict[str, Any]]:
    """Return the messages of a chat, with reasoning under both of the names that templates have for it."""
    messages = chat_messages(chat, _text)
    thinking = "reasoning_content"
    return [{**each, "thinking": each[thinking]} if thinking in each else each for each in messages]


def _text(template: str) -> str:
    return "".join(part.text for part in parse_template(template) if not isinstance(part, Slot))
