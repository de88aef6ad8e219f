"""The forms of a dialect: how one model family writes turns, tool calls and reasoning, as data.

All strings of a dialect may hold its markers, which become control ids, and holes such as `{content}`, which
are filled with ordinary ids only. Code enters in one place, the grammar that reads a call's payload.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from codec_agents.dialects.values import ThinkingMode

NO_REFERENCE = "its prompts: no template or other implementation was at hand to compare them with"
EARLIER_REASONING = "what becomes of earlier reasoning"
SPENT_BUDGET = "what is put behind a spent budget of reasoning"
"""What several dialects do not know of their models."""

Content = Literal["text", "json", "json_string"]
"""How a result stands in its turn: as it is; as JSON, quoted if it is none; or always as a JSON string."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Openings(_Part):
    """What the prompt ends with, so that the model speaks next."""

    default: str
    """Where nothing is asked about thinking."""
    on: str | None = None
    """Thinking asked for; None: as the default."""
    off: str | None = None
    """Thinking asked not to happen; None: as the default."""
    forced: str | None = None
    """Thinking opened in the prompt; None: the family cannot."""

    def forms(self) -> tuple[str | None, ...]:
        """Return all of them."""
        return self.default, self.on, self.off, self.forced

    def for_mode(self, mode: ThinkingMode | None) -> str | None:
        """Return the opening for a mode, or None where the family has none."""
        if mode == "forced":
            return self.forced
        return {"on": self.on, "off": self.off}.get(mode or "") or self.default


class ThinkingForm(_Part):
    """How reasoning is marked."""

    open: str
    close: str
    calls_end_it: bool = True
    """Whether a turn may end in a call that stands inside reasoning that was never closed."""
    closing: str | None = None
    """What is put behind reasoning that has used up its budget, so that the model goes on to its answer;
    None: the family has no such thing, and the turn ends there."""
    kept: bool | Literal["with_tools"] = False
    """Whether earlier reasoning stays in the prompt when a person speaks again, or only where the model has
    tools. Between a call and its result it always does."""
    absent: dict[str, str] = {}
    """How a turn without reasoning opens where reasoning stays, by thinking mode, `default` or `any`; as in
    `assistant` for the modes that are left out."""
    history: str | None = None
    """How a turn opens in history, where its reasoning is left out; None: as by default."""
    told: str | None = None
    """How a turn opens in history with its reasoning, `{reasoning}`; None: as a prompt opens it for
    reasoning, with `closing` behind it."""


class ToolsForm(_Part):
    """How tools are told to the model."""

    place: Literal[
        "system", "before_text", "before_system", "after_system", "before_user", "user", "first_user"
    ] = "system"
    """In the system turn, after the system text or before it; as a turn of its own beside the system turn, or
    before the last user turn; or before the text of the last user turn, or of the first."""
    form: str
    """The text around them; `{tools}` is where they stand."""
    each: Literal[
        "openai", "function", "headed", "xml", "xml-types", "gemma", "typescript", "kimi", "python", "apertus"
    ] = "openai"
    """How one tool is written."""
    join: str = "\n"
    list_of: bool = False
    """Whether they stand in one JSON list."""
    indent: int | None = None
    canonical: bool = False
    """Whether their JSON has sorted keys and no spaces."""
    between: str = ""
    """What stands between the system text and the tools, where there is a system text."""


class WrittenCalls(_Part):
    """How the calls of an assistant's turn stand in history. Holes are filled with ordinary ids only."""

    each: str
    """One call: holes `{name}`, `{arguments}`, `{id}`, and `{name_json}` and `{id_json}` as JSON strings,
    `{name_attribute}` as the value of an XML attribute, and `{number}`, its place in the turn from 1."""
    open: str = ""
    join: str = ""
    close: str = ""
    literals: Literal["json", "python", "gemma", "elements"] = "json"
    """How values are written, and arguments where they are one object; as elements, the parts of lists and
    objects are marked like arguments."""
    argument: str | None = None
    """One argument, where they are written one by one: holes `{key}`, `{value}`, `{is_text}`, true where the
    value is a string, `{type}`, its JSON type, and `{key_attribute}`, the key as an XML attribute."""
    argument_join: str = ""
    bare_strings: bool = False
    """Whether the value of an argument that is a string stands as it is, not as a literal."""
    python_words: bool = False
    """Whether an argument that is true, false or null stands as `True`, `False` or `None`, as a template does
    that turns values into text; inside lists and objects they stand as in JSON."""
    text: str | None = "{content}"
    """How the text of the turn stands before the calls; None: there is no text beside calls."""
    text_always: bool = False
    """Whether `text` stands there also where the turn has none."""
    behind_text: str = ""
    """What stands between that text and the calls."""
    most: int | None = None
    """How many calls a turn holds; None: any number."""


class CallForm(_Part):
    """How calls are marked, and the grammar of what stands between."""

    grammar: str
    """The name of a payload grammar."""
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    """Empty: a call ends at the next start or with the turn."""
    nested: bool = False
    """Whether a start inside a call belongs to its payload, and does not begin another call."""
    inner: tuple[str, ...] = ()
    """Control tokens that the grammar reads inside a payload."""
    text_starts: tuple[str, ...] = ()
    """What a call begins with where it is not marked by ids."""
    text_end: str | None = None
    text_anywhere: bool = False
    keep_text_start: bool = True
    text_unless_marked: bool = False
    """Look for the text only where the vocabulary lacks the control tokens."""
    speculative: bool = False
    """Text is a call only if it parses, and names a tool that the model was given."""
    written: WrittenCalls | None = None
    """How declared calls are written; None: they cannot be."""


class ResultForm(_Part):
    """How results are told to the model."""

    each: str
    """One result: holes `{content}`, `{name}`, `{id}`, `{id_json}`, the id as a JSON string,
    `{name_attribute}`, the name as the value of an attribute, and `{number}`, its place from 1."""
    open: str = ""
    join: str = ""
    close: str = ""
    content: Content = "text"
    then: Literal["opening", "reopening", "nothing"] = "opening"
    """Whether the assistant's turn is opened again, or the model goes on where the results end, perhaps
    behind the marker of its thinking mode."""
    in_turn: bool = False
    """Whether the results stand inside the assistant's turn, which is not ended before them."""
    id_form: str = "{index}"
    """The id of a call to which the model gave none: `{index}` and `{name}` may stand in it."""
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
    """Control tokens that some of the family's vocabularies lack; their text stands in prompts there."""
    begin: str = ""
    """What every prompt begins with."""
    begin_with_tools: str | None = None
    """What it begins with where there are tools; None: the same."""
    system: str
    """The system turn; empty where the family has none."""
    system_in_user: str | None = None
    """How the system text stands before the last user text, in families without a system turn."""
    system_in_first_user: bool = False
    """Whether it stands before the first user text instead."""
    user: str
    assistant: str
    answer: str = "{content}"
    """The part of the assistant's turn that is its answer, where marks stand around that."""
    default_system: str | None = None
    """The system text where none is declared."""
    default_turn: str | None = None
    """The whole system turn where no system text is declared, where it is not written as `system` is."""
    tools_system: str | None = None
    """The system text beside tools where none is declared; None: as `default_system`."""
    thinking_turn: dict[str, str] = {}
    """The turn that a thinking mode, or `default`, puts before the system turn."""
    thinking_system: dict[str, str] = {}
    """What a thinking mode, or `default`, puts before the system text and the tools."""
    thinking_between: str = ""
    """What stands between that and what follows it in the system turn, where anything does."""
    thinking_after: dict[str, str] = {}
    """What a thinking mode, or `default`, puts behind the system text and the tools."""
    thinking_user: dict[str, str] = {}
    """What a thinking mode adds to the last user text."""
    opening: Openings
    reopening: Openings | None = None
    """What the prompt ends with behind results, in families whose results say `reopening`."""
    turn_starts: tuple[str, ...]
    """Control tokens that begin a turn: a search for reasoning opened in the prompt stops there."""
    turn_end: str | None
    """The control token that ends the assistant's turn in a prompt; None where the next turn's start does."""
    also_ends: tuple[str, ...] = ()
    """Control tokens that models generate in its place."""
    after_turn: str = ""
    """What the prompt holds between a turn's end and the next turn, which models do not generate."""
    stops: tuple[str, ...]
    """Control tokens at which the model's turn is over."""
    wrappers: tuple[str, ...] = ()
    """Control tokens around an answer that say nothing more."""
    thinking: ThinkingForm | None = None
    tools: ToolsForm | None = None
    calls: CallForm | None = None
    results: ResultForm | None = None
    unverified: tuple[str, ...] = ()
    """What of this is neither documented nor seen in a published template: it is what is safe, or usual."""
    reader: Literal["regions", "messages", "channels"] = "regions"
    """How a turn is cut: by pairs of markers, by messages whose headers say what they are, or by channels,
    whose tags are names between control tokens."""

    def knows_reasoning(self, absent: Sequence[str] = ()) -> bool:
        """Tell whether reasoning is told apart in a vocabulary that lacks these control tokens."""
        form = self.thinking
        return form is not None and form.open not in absent and form.close not in absent

    def writes_call_ids(self) -> bool:
        """Tell whether declared calls are written with their ids."""
        written = self.calls.written if self.calls is not None else None
        return written is not None and ("{id}" in written.each or "{id_json}" in written.each)

    def keeps_reasoning(
        self, keep: bool | None, absent: Sequence[str] = (), *, with_tools: bool = False
    ) -> bool:
        """Return whether earlier reasoning stays in the prompt when a person speaks again.

        Args:
            keep: what the declaration says; None for what the family does.
            absent: the control tokens that the vocabulary lacks.
            with_tools: whether the model has tools.
        """
        if self.thinking is None or not self.knows_reasoning(absent):
            return True
        kept = with_tools if self.thinking.kept == "with_tools" else self.thinking.kept
        return kept if keep is None else keep

    def told_reasoning(self) -> str | None:
        """Return how a turn opens with its `{reasoning}`; None where the family does not reason."""
        form = self.thinking
        if form is None:
            return None
        if form.told is not None:
            return form.told
        opening = self.opening.forced or self.opening.default + form.open
        return f"{opening}{{reasoning}}{form.closing or form.close}"

    def all_markers(self) -> Iterator[str]:
        """Yield every control token of the dialect."""
        yield from dict.fromkeys((*self.markers, *self.optional_markers))
