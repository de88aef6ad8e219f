"""References for what dialects write: models' own chat templates, and the package `renderers`.

Each conversation is rendered by a reference, and the text is kept in `tests/vectors/families`. The quick
suite compares a dialect with these texts, so it needs neither the templates nor the package.
`python -m tests.family_vectors` makes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from typing import Any

import yaml

from codec_agents.dialects import BoundDialect, Dialect, ThinkingMode, get_dialect
from codec_agents.graph.chat import Chat
from codec_agents.graph.messages import chat_messages
from codec_agents.graph.turns import ChatTurn, DeclaredCall
from codec_agents.tools.tool import Tool
from codec_core.detokenizer import Detokenizer
from tests.agents.dialects.families import TOOLS, VECTORS, small_map
from tests.agents.dialects.rich import NOTE_TOOLS, ODD_TOOLS, RICH_TOOLS, rich_conversations

FOLDER = VECTORS / "families"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, which is ten times as fast, where pyyaml was built with it."""
SOURCES_FILE = VECTORS / "family_sources.yaml"
TOOLSETS = {"none": (), "few": TOOLS, "rich": RICH_TOOLS, "notes": NOTE_TOOLS, "odd": ODD_TOOLS}


@dataclass(frozen=True)
class Source:
    """One reference of one dialect.

    Fields:
        dialect: the dialect that is compared with it.
        template: the file name of a chat template in a package; "" for none.
        package: that package, as in `template_archive.PACKAGES`; `xtuner` for an encoder of XTuner.
        renderer: the name of a renderer of the package `renderers`; "" for none.
        encoder: the name of a prompt encoder of vLLM or XTuner, without its ending; "" for none.
        common: the ending of a tokenizer file of `mistral-common`, which writes the prompt; "" for none.
        options: variables of the template, or fields of the renderer's configuration, for each conversation.
        modes: the same by the thinking mode, beyond `enable_thinking`.
        tokens: the template's `bos_token` and `eos_token`.
        differs: conversations that the dialect writes otherwise, with the reason.
        skips: conversations that the reference refuses, with the reason.
        without: control tokens of the dialect that the models' vocabulary lacks.
        untold: whether the reference is not told of the tools that are called.
        named: whether results name their tools, beside the ids of their calls.
        null_text: whether a turn without text has no content instead of an empty one, which is written too.
        removes: patterns of what is left out of the reference's texts, with the reason.
        thinks_when_asked: whether the reference knows reasoning only where thinking is on.
        transcribed: whether the template is put together from what others quote of it, since no package has
            it: a weaker reference, and called so wherever it is named.
    """

    dialect: str
    template: str = ""
    package: str = "llama.cpp"
    renderer: str = ""
    encoder: str = ""
    common: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    differs: Mapping[str, str] = field(default_factory=dict)
    skips: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    untold: bool = False
    named: bool = False
    null_text: bool = False
    removes: Mapping[str, str] = field(default_factory=dict)
    thinks_when_asked: bool = False
    transcribed: bool = False

    @property
    def name(self) -> str:
        """The name of its file of vectors."""
        carrier = "" if self.package == "llama.cpp" else f"{self.package}-"
        kinds = (
            (carrier, self.template.removesuffix(".jinja")),
            ("renderers-", self.renderer),
            (carrier or "vllm-", self.encoder),
            ("mistral-common", self.common),
        )
        return next(f"{self.dialect}.{kind}{name}" for kind, name in kinds if name)


def sources() -> list[Source]:
    """Return all references."""
    return [Source(**each) for each in yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class Conversation:
    """A conversation, as far as a family can write it.

    Fields:
        name: what it shows.
        chat: the declaration; its mode counts.
        toolset: the tools that the model has: a key of `TOOLSETS`.
    """

    name: str
    chat: Chat
    toolset: str = "none"

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that the model has."""
        return TOOLSETS[self.toolset]

    def schemas(self, source: Source) -> list[dict[str, Any]]:
        """Return what a reference is told of them."""
        return [] if source.untold else [tool.schema() for tool in self.tools]


def conversations(source: Source) -> Iterator[Conversation]:
    """Yield the conversations that are compared: turns, calls, results and reasoning in every mode."""
    dialect, system = get_dialect(source.dialect), "Be brief."
    thinks = dialect.knows_reasoning(source.without)
    modes: list[ThinkingMode | None] = [None, "on", "off"] if thinks else [None]
    thinking = ("on",) if source.thinks_when_asked else (None, "on")
    for mode in modes:
        label = f", thinking {mode}" if mode else ""
        yield Conversation(f"one turn{label}", Chat(user="Hi there", thinking=mode))
    if dialect.system or dialect.system_in_user is not None:
        answered = (ChatTurn(role="user", content="Hi there"), _said("Hello, 三."))
        yield Conversation("several turns", Chat(system=system, turns=answered, user="And?"))
    if dialect.calls is None or dialect.calls.written is None or dialect.results is None:
        return
    told = system if dialect.system or dialect.system_in_user is not None else None
    asked = ChatTurn(role="user", content="Which coat?")
    if not source.untold:
        yield Conversation("tools", Chat(user="Hi there"), "few")
    for mode in modes:
        label = f", thinking {mode}" if mode else ""
        first = _called(dialect, "Let me see.", "Look it up." if thinks and mode in thinking else None)
        results = _results(first)
        yield Conversation(
            f"results{label}", Chat(system=told, turns=(asked, first, *results), thinking=mode), "few"
        )
    quiet = _called(dialect, "", None)
    yield Conversation("results of a quiet turn", Chat(turns=(asked, quiet, *_results(quiet))), "few")
    asks: ThinkingMode | None = "on" if source.thinks_when_asked else None
    if thinks:
        thought = _called(dialect, "", "Look it up.")
        chat = Chat(turns=(asked, thought, *_results(thought)), thinking=asks)
        yield Conversation("results of a thought", chat, "few")
    first = _called(dialect, "Let me see.", "Look it up." if thinks else None)
    again = ChatTurn(role="assistant", calls=(_CALLS[0],), reasoning="Once more." if thinks else None)
    turns = (asked, first, *_results(first), again, *_results(again), _said("A warm one."))
    chat = Chat(system=told, turns=turns, user="Thanks. And?", thinking=asks if thinks else None)
    yield Conversation("another question", chat, "few")
    for name, toolset, chat in rich_conversations(dialect, told, asks, thinks=thinks, told=not source.untold):
        yield Conversation(name, chat, toolset)


def _said(text: str) -> ChatTurn:
    return ChatTurn(role="assistant", content=text)


_CALLS = (
    DeclaredCall(name="weather", arguments={"city": "Oslo", "days": 3, "exact": True, "hours": [6, 18]}),
    DeclaredCall(name="clock", arguments={"zone": 'Europe/"Oslo"'}),
)


def _called(dialect: Dialect, text: str, reasoning: str | None) -> ChatTurn:
    form = dialect.calls.written if dialect.calls is not None else None
    assert form is not None
    calls = _CALLS[: form.most or len(_CALLS)]
    return ChatTurn(
        role="assistant", content="" if form.text is None else text, reasoning=reasoning, calls=calls
    )


def _results(turn: ChatTurn) -> tuple[ChatTurn, ...]:
    texts = {"weather": "Oslo: sun", "clock": '{"time": "12:00"}'}
    return tuple(ChatTurn(role="tool", content=_escaped(texts[call.name])) for call in turn.calls)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def bound(source: Source, conversation: Conversation) -> BoundDialect:
    """Return the dialect on a small map that has its markers as control tokens."""
    return _bound(source.dialect, tuple(source.without), conversation.toolset)


@cache
def _bound(name: str, without: tuple[str, ...], toolset: str) -> BoundDialect:
    dialect = get_dialect(name)
    tokenizer_map = small_map([each for each in dialect.all_markers() if each not in without])
    return BoundDialect(dialect, tokenizer_map, TOOLSETS[toolset])


def written(source: Source, conversation: Conversation) -> tuple[list[int], str]:
    """Return the prompt that the dialect writes, in ids and as text with its control tokens."""
    family = bound(source, conversation)
    ids = family.template(conversation.chat, [] if source.untold else None).render({})
    return ids, Detokenizer(family.vocabulary).render(ids, render_special=True)


def messages(source: Source, conversation: Conversation) -> list[dict[str, Any]]:
    """Return the conversation as references take it: ids of calls as the family makes them."""
    dialect = get_dialect(source.dialect)
    form = dialect.results.id_form if dialect.results is not None else "{index}"
    found = chat_messages(conversation.chat, lambda text: text.replace("{{", "{").replace("}}", "}"))
    known: dict[str, str] = {}
    for message in found:
        for call in message.get("tool_calls", ()):
            made = form.format(index=len(known), name=call["function"]["name"])
            known[call["id"]], call["id"] = made, made
        if message["role"] == "tool" and not source.named:
            message.pop("name", None)
        if source.null_text and not message["content"]:
            message["content"] = None
        if "tool_call_id" in message:
            message["tool_call_id"] = known[message["tool_call_id"]]
        if "reasoning_content" in message:
            names = ("thinking", "reasoning", "tool_plan")
            message |= dict.fromkeys(names, message["reasoning_content"])
    return found


def options(source: Source, conversation: Conversation) -> dict[str, Any]:
    """Return the variables of a template, or the fields of a renderer's configuration."""
    mode = conversation.chat.thinking
    return {**source.options, **source.modes.get(mode or "default", {})}


def cleaned(source: Source, text: str) -> str:
    """Return a reference's text without what the dialect leaves out."""
    for pattern in source.removes:
        text = re.sub(pattern, "", text)
    return text


def reason(said: Mapping[str, str], name: str) -> str | None:
    """Return the reason that a source gives for a conversation, whose name may end in `*`."""
    return next((why for pattern, why in said.items() if fnmatch(name, pattern)), None)


def recorded(source: Source) -> dict[str, str]:
    """Return the texts of one reference, by conversation."""
    path = FOLDER / f"{source.name}.yaml"
    texts: dict[str, str] = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    return texts
