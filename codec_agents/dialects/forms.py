"""The forms of a dialect: how one model family writes turns, tool calls and reasoning, as data.

All strings of a dialect may hold its markers, which become control ids, and holes such as `{content}`, which
are filled with ordinary ids only. Code enters in one place, the grammar that reads a call's payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from codec_agents.dialects.values import ThinkingMode

NO_REFERENCE = "all prompts (no template or other implementation was available to compare with)"
EARLIER_REASONING = "whether earlier reasoning is kept"
SPENT_BUDGET = "the text that ends reasoning when its budget is used up"
"""Facts that several dialects do not know of their models."""

KeptReasoning: TypeAlias = bool | Literal["never"] | None
"""Whether the reasoning of earlier exchanges stays in a prompt; `never`: that of the exchange that goes on
leaves as well. None is for what the family does."""

Content = Literal["text", "json", "json_string"]
"""The form of a result in its turn: as it is; as JSON, quoted if it is none; or always as a JSON string."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Openings(_Part):
    """The ends of a prompt, after which the model speaks, by thinking mode."""

    default: str
    """Without a thinking mode."""
    on: str | None = None
    """With `on`; None: as the default."""
    off: str | None = None
    """With `off`; None: as the default."""
    forced: str | None = None
    """With `forced`: the prompt opens the reasoning; None: the family cannot."""

    def forms(self) -> tuple[str | None, ...]:
        """Return all of them."""
        return self.default, self.on, self.off, self.forced

    def for_mode(self, mode: ThinkingMode | None) -> str | None:
        """Return the opening for a mode, or None where the family has none."""
        if mode == "forced":
            return self.forced
        return {"on": self.on, "off": self.off}.get(mode or "") or self.default


class ThinkingForm(_Part):
    """The marks of reasoning."""

    open: str
    close: str
    calls_end_it: bool = True
    """Whether a turn may end in a call inside reasoning that was never closed."""
    closing: str | None = None
    """The text behind reasoning that has used up its budget, after which the model writes its answer; None:
    the family has no such form, and the turn ends there."""
    kept: bool | Literal["with_tools", "never"] = False
    """True if earlier reasoning stays in the prompt when a user speaks again, or `with_tools` if it stays
    only where the model has tools. Between a call and its result it stays; `never` if the family's own
    templates leave it out there as well, as a gateway then does."""
    absent: dict[str, str] = {}
    """The opening of a turn without reasoning where reasoning stays, by thinking mode, `default` or `any`; as
    in `assistant` for the modes that are left out."""
    history: str | None = None
    """The opening of a turn in history, where its reasoning is left out; None: as by default."""
    told: str | None = None
    """The opening of a turn in history with its `{reasoning}`; None: as a prompt opens it for reasoning, with
    `closing` behind it."""


class ToolsForm(_Part):
    """The form in which a prompt tells the model its tools."""

    place: Literal[
        "system", "before_text", "before_system", "after_system", "before_user", "user", "first_user"
    ] = "system"
    """In the system turn, after the system text or before it; as a turn of its own beside the system turn, or
    before the last user turn; or before the text of the last user turn, or of the first."""
    form: str
    """The text around the tools, which replace `{tools}`."""
    absent: str = ""
    """The text behind the system turn where the model has no tools."""
    each: Literal[
        "openai",
        "function",
        "flat",
        "responses",
        "headed",
        "xml",
        "xml-types",
        "gemma",
        "function-gemma",
        "repr",
        "typescript",
        "kimi",
        "python",
        "apertus",
    ] = "openai"
    """The form of one tool."""
    join: str = "\n"
    list_of: bool = False
    """Whether the tools are one JSON list."""
    indent: int | None = None
    canonical: bool = False
    """Whether the JSON of the tools has sorted keys and no spaces."""
    between: str = ""
    """The text between the system text and the tools, where there is a system text."""


class WrittenCalls(_Part):
    """The form of calls in an assistant's turn in history. Holes are filled with ordinary ids only."""

    each: str
    """One call: holes `{name}`, `{arguments}`, `{id}`, and `{name_json}` and `{id_json}` as JSON strings,
    `{name_attribute}` as the value of an XML attribute, and `{number}`, its place in the turn from 1."""
    open: str = ""
    join: str = ""
    close: str = ""
    literals: Literal["json", "canonical", "python", "gemma", "function-gemma", "elements"] = "json"
    """The notation of values, and of arguments where they are one object. Canonical is JSON with sorted keys
    and no spaces; as elements, the parts of lists and objects are marked like arguments."""
    argument: str | None = None
    """One argument, where they are written one by one: holes `{key}`, `{value}`, `{is_text}`, true where the
    value is a string, `{type}`, its JSON type, and `{key_attribute}`, the key as an XML attribute."""
    argument_join: str = ""
    bare_strings: bool = False
    """Whether a string is written as it is, not as a literal, where it is the value of an argument."""
    python_words: bool = False
    """Whether true, false and null are `True`, `False` and `None` where they are arguments, as in templates
    that turn values into text; inside lists and objects they are as in JSON."""
    json_objects: bool = False
    """Whether an object is JSON where it is an argument, whatever the notation; inside lists it is not."""
    json_lists: bool = False
    """The same of a list."""
    writes_null: bool = True
    """Whether null is written; False: arguments and members of objects that are null are left out."""
    text: str | None = "{content}"
    """The form of the turn's text before the calls; None: there is no text beside calls."""
    text_always: bool = False
    """Whether `text` is written also where the turn has none."""
    behind_text: str = ""
    """The text between that text and the calls."""
    most: int | None = None
    """The number of calls that a turn may hold; None: any number."""


class CallForm(_Part):
    """The marks of calls, and the grammar of the payload between them."""

    grammar: str
    """The name of a payload grammar."""
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    """Empty: a call ends at the next start or with the turn."""
    nested: bool = False
    """Whether a start inside a call belongs to its payload, and does not begin another call."""
    inner: tuple[str, ...] = ()
    """Control tokens that the grammar reads inside a payload."""
    alone: tuple[str, str] | None = None
    """Those of them around one call, where models also write calls without the marks around all of them."""
    text_starts: tuple[str, ...] = ()
    """The texts that may begin a call where ids do not mark it."""
    text_end: str | None = None
    """The text that ends such a call; None: only the turn's end does."""
    text_anywhere: bool = False
    """Whether such a call may begin in the middle of an answer, and not only as its first character."""
    text_in_reasoning: bool = False
    """Whether such a call may also begin in reasoning, and ends it where nothing else closes it."""
    keep_text_start: bool = True
    """Whether the text that begins it is read by the grammar, as `{` is."""
    text_unless_marked: bool = False
    """Look for the text only where the vocabulary lacks the control tokens."""
    speculative: bool = False
    """Text is a call only if it parses, and names a tool that the model was given."""
    written: WrittenCalls | None = None
    """The form of declared calls; None: the family has none."""


class ResultForm(_Part):
    """The form of results."""

    each: str
    """One result: holes `{content}`, `{name}`, `{id}`, `{id_json}`, the id as a JSON string,
    `{name_attribute}`, the name as the value of an attribute, and `{number}`, its place from 1."""
    open: str = ""
    join: str = ""
    close: str = ""
    content: Content = "text"
    then: Literal["opening", "reopening", "nothing"] = "opening"
    """The text behind results: the opening of another turn of the assistant, `Dialect.reopening`, or nothing,
    where the model continues behind them."""
    in_turn: bool = False
    """Whether the results are inside the assistant's turn, which is not ended before them."""
    id_form: str = "{index}"
    """The id of a call to which the model gave none; it may hold `{index}` and `{name}`."""
    id_pattern: str | None = None
    """A regular expression of the ids that the family can write, in which `{name}` is the tool's name; other
    ids are replaced by `id_form`. None: any id."""


class DialectForms(_Part):
    """The forms of one model family. Immutable."""

    name: str
    description: str = ""
    markers: tuple[str, ...]
    """Control tokens without which the dialect cannot be written."""
    optional_markers: tuple[str, ...] = ()
    """Control tokens that some of the family's vocabularies lack; prompts hold their text there."""
    begin: str = ""
    """The beginning of every prompt."""
    begin_with_tools: str | None = None
    """The beginning of a prompt with tools; None: the same."""
    system: str
    """The system turn; empty where the family has none."""
    system_in_user: str | None = None
    """The form of the system text before the last user text, in families without a system turn."""
    system_text: str = "{content}"
    """A system text inside its turn, which may hold tools as well, or tools alone."""
    system_in_first_user: bool = False
    """Whether it is before the first user text instead."""
    user: str
    assistant: str
    answer: str = "{content}"
    """The part of the assistant's turn that is its answer, where marks are around that."""
    default_system: str | None = None
    """The system text where none is declared."""
    default_turn: str | None = None
    """The whole system turn where no system text is declared, where it is not written as `system` is."""
    tools_system: str | None = None
    """The system text beside tools where none is declared; None: as `default_system`."""
    thinking_turn: dict[str, str] = {}
    """The turn that a thinking mode, or `default`, puts before the system turn."""
    thinking_turn_last: bool = False
    """Whether that turn is behind the system turn instead."""
    thinking_turn_first: bool = False
    """Whether that turn is also before tools that stand before the system turn."""
    thinking_system: dict[str, str] = {}
    """The text that a thinking mode, or `default`, puts before the system text and the tools."""
    thinking_between: str = ""
    """The text between that and the rest of the system turn, where there is a rest."""
    thinking_after: dict[str, str] = {}
    """The text that a thinking mode, or `default`, puts behind the system text and the tools."""
    thinking_user: dict[str, str] = {}
    """The text that a thinking mode adds to the last user text."""
    opening: Openings
    reopening: Openings | None = None
    """The ends of a prompt behind results, in families whose results say `reopening`."""
    turn_starts: tuple[str, ...]
    """Control tokens that begin a turn: a search for reasoning opened in the prompt stops there."""
    turn_end: str | None
    """The control token that ends the assistant's turn in a prompt; None where the next turn's start does."""
    also_ends: tuple[str, ...] = ()
    """Control tokens that models generate in place of `turn_end`."""
    after_turn: str = ""
    """The text of a prompt between a turn's end and the next turn, which models do not generate."""
    stops: tuple[str, ...]
    """Control tokens at which the model's turn is over."""
    wrappers: tuple[str, ...] = ()
    """Control tokens around an answer, without another meaning."""
    thinking: ThinkingForm | None = None
    tools: ToolsForm | None = None
    calls: CallForm | None = None
    results: ResultForm | None = None
    unverified: tuple[str, ...] = ()
    """The parts that are neither documented nor in a published template: they are as is safe, or usual."""
    reader: Literal["regions", "messages", "channels", "blocks"] = "regions"
    """The reader of turns: `regions` between pairs of markers, `messages` with headers, `channels`, whose
    tags are names between control tokens, or `blocks`, whose kind a control token says."""

    def knows_reasoning(self, absent: Sequence[str] = ()) -> bool:
        """Return whether reasoning is marked in a vocabulary that lacks these control tokens."""
        form = self.thinking
        return form is not None and form.open not in absent and form.close not in absent

    def writes_call_ids(self) -> bool:
        """Return whether declared calls are written with their ids."""
        written = self.calls.written if self.calls is not None else None
        return written is not None and ("{id}" in written.each or "{id_json}" in written.each)

    def keeps_reasoning(
        self, keep: KeptReasoning, absent: Sequence[str] = (), *, with_tools: bool = False
    ) -> bool:
        """Return whether earlier reasoning stays in the prompt when a user speaks again.

        Args:
            keep: what the declaration says; None for what the family does.
            absent: the control tokens that the vocabulary lacks.
            with_tools: whether the model has tools.
        """
        if self.thinking is None or not self.knows_reasoning(absent):
            return True  # what nothing marks cannot be left out
        kept = with_tools if self.thinking.kept == "with_tools" else self.thinking.kept is True
        return kept if keep is None else keep is True

    def keeps_reasoning_between_calls(self, absent: Sequence[str] = ()) -> bool:
        """Return whether the family's templates keep reasoning in the prompt until a user speaks again."""
        return self.thinking is None or not self.knows_reasoning(absent) or self.thinking.kept != "never"

    def told_reasoning(self) -> str | None:
        """Return how a turn opens with its `{reasoning}`; None where the family does not reason."""
        form = self.thinking
        if form is None:
            return None
        if form.told is not None:
            return form.told
        opening = self.opening.forced or self.opening.default + form.open
        return f"{opening}{{reasoning}}{form.closing or form.close}"

    def all_markers(self) -> tuple[str, ...]:
        """Return every control token of the dialect once."""
        return tuple(dict.fromkeys(self.markers + self.optional_markers))
