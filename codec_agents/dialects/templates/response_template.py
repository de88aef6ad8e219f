"""A model's `response_template`: how its turns mark reasoning and calls, as its tokenizer configuration says.

Only marks that are literal strings can be found in ids. Patterns, and content that no grammar here reads, are
left alone and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from codec_agents.dialects.base import CallForm, Dialect
from codec_agents.exceptions import DialectError

VERSION = 1
"""The one form that is read, and that of a template without a version, as in `transformers`."""

_REASONING = ("thinking", "reasoning_content", "reasoning")
"""The names under which messages hold reasoning; the first field whose marks are literal strings counts."""
_LITERAL = re.compile(r"(?:(?:\\[^\w\s]|[^\\\[\](){}.*+?^$|])(?![*?{]))+")
"""The literal beginning of a pattern, as it is escaped there. A character that may be missing ends it."""
_STRUCTURE = re.compile(r"\\.|[\[\]()|]", re.DOTALL)
"""What decides where a branch of a pattern ends: escaped characters, sets, groups and bars."""
_GRAMMARS = (("<function=", "tagged"), ("<invoke", "invoke"), ("<parameter=", "tagged"))
"""The strings that patterns of calls hold, and the grammars that read them."""


@dataclass(frozen=True, slots=True)
class ResponseMarks:
    """The marks that a response template gives as literal strings.

    Fields:
        thinking: what opens and closes reasoning.
        calls: how calls are marked, and read.
        unread: the fields of reasoning where none gives such marks, and `tool_calls` where it does not, or
            where several strings open or close what a dialect reads with one.
    """

    thinking: tuple[str, str] | None = None
    calls: CallForm | None = None
    unread: tuple[str, ...] = ()


def response_marks(config: Mapping[str, Any]) -> ResponseMarks | None:
    """Return the marks in the response template of a `tokenizer_config.json`; None where it has none.

    Raises:
        DialectError: it is no response template, or one of another version.
    """
    template = config.get("response_template")
    if template is None:
        return None
    fields = template.get("fields") if isinstance(template, Mapping) else None
    if not isinstance(fields, Mapping):
        raise DialectError("the response_template of tokenizer_config.json has no `fields`")
    if template.get("version", VERSION) != VERSION:
        raise DialectError(f"the response_template has version {template['version']!r}; this reads {VERSION}")
    reasoning = [name for name in _REASONING if name in fields]
    thinking = next(filter(None, (_pair(fields[name]) for name in reasoning)), None)
    calls = None if "tool_calls" not in fields else _call_form(fields["tool_calls"])
    unread = reasoning if thinking is None else []
    unread += ["tool_calls"] if "tool_calls" in fields and calls is None else []
    return ResponseMarks(thinking, calls, tuple(unread))


def differences(dialect: Dialect, marks: ResponseMarks) -> Iterator[str]:
    """Yield what a known dialect and a response template mark otherwise."""
    form = dialect.thinking
    if marks.thinking is not None and (form is None or (form.open, form.close) != marks.thinking):
        own = "not at all" if form is None else f"by {form.open!r} and {form.close!r}"
        yield f"it marks reasoning by {' and '.join(map(repr, marks.thinking))}, the dialect {own}"
    calls = dialect.calls
    # In families with blocks of calls, the template may name the mark of the block or of each call.
    if marks.calls is not None and (
        calls is None or not {*marks.calls.starts} & {*calls.starts, *calls.inner}
    ):
        own = "not at all" if calls is None else f"by {', '.join(map(repr, calls.starts)) or 'text'}"
        yield f"it marks calls by {', '.join(map(repr, marks.calls.starts))}, the dialect {own}"


def _pair(field: Any) -> tuple[str, str] | None:
    starts, ends = _literals(field, "open"), _literals(field, "close")
    # A dialect has one pair: of several strings, those left out would be read as the answer.
    return (starts[0].strip(), ends[0].strip()) if len(starts) == len(ends) == 1 else None


def _call_form(field: Any) -> CallForm | None:
    starts, ends = _literals(field, "open") or _beginning(field), _literals(field, "close")
    grammar = _grammar(field)
    # Where the marks are text, a dialect has one end: at a second one, a call would not end.
    if not starts or len(ends) > 1 or grammar is None:
        return None
    # The marks are looked for as control tokens, and as text where they are none. A text without an end
    # would take the rest of any answer that names it: it must be what the answer begins with.
    return CallForm(
        grammar=grammar,
        starts=tuple(each.strip() for each in starts),
        ends=tuple(each.strip() for each in ends),
        text_starts=tuple(each.strip() for each in starts),
        text_end=ends[0].strip() if ends else None,
        text_anywhere=bool(ends),
        keep_text_start=False,
        text_unless_marked=True,
    )


def _literals(field: Any, name: str) -> list[str]:
    value = field.get(name) if isinstance(field, Mapping) else None
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) and each.strip() for each in values):
        return []
    return values


def _beginning(field: Any) -> list[str]:
    """Return the literal text with which every match of a pattern begins."""
    pattern = field.get("open_pattern") if isinstance(field, Mapping) else None
    match = _LITERAL.match(pattern) if isinstance(pattern, str) else None
    if match is None or _has_branches(match.string):  # another branch may begin otherwise
        return []
    literal = re.sub(r"\\(.)", r"\1", match[0])
    for tag, _ in _GRAMMARS:  # what the grammar reads is behind the mark, and no part of it
        literal = literal.partition(tag)[0] or literal
    return [literal] if literal.strip() else []


def _has_branches(pattern: str) -> bool:
    """Return whether a pattern has several branches outside of its groups."""
    depth, in_set = 0, False
    for found in _STRUCTURE.finditer(pattern):
        if in_set or found[0] == "[":
            in_set = found[0] != "]"
        elif found[0] == "|" and depth <= 0:
            return True
        else:
            depth += (found[0] == "(") - (found[0] == ")")
    return False


def _grammar(field: Mapping[str, Any]) -> str | None:
    content, arguments = field.get("content", "text"), str(field.get("content_args", {}))
    if content == "json" and not field.get("content_args") and "open_pattern" not in field:
        return "json"
    if content == "xml-inline":
        spelled = f"{field.get('open_pattern', '')}{arguments}"
        return next((grammar for mark, grammar in _GRAMMARS if mark in spelled), None)
    return None
