"""Calls written in tags of ordinary text, whose values have the types that the tool's schema says.

The rules of this file:

1. A closing tag ends a value only where another tag, or nothing, follows: values may hold tags.
2. A value whose closing tag was dropped ends where the next line begins with the tag of a parameter that the
   tool has and the call has not given yet. The line break before that tag is not part of it.
3. A value that nothing ends may be cut off. Its call is not closed, and is not run.
4. Nor is one that may hold another parameter, whose opening tag was dropped: a closing tag ends a line of a
   value, and the tool has a parameter that the call does not give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from codec_agents.dialects.grammars.base import (
    FoundCall,
    Payload,
    PayloadError,
    load_json,
    member_schema,
    property_schema,
    read_values,
    schema_types,
)


@dataclass(frozen=True, slots=True)
class TagForm:
    """The tags of one family.

    Fields:
        shown: a call, for messages.
        call: opens a call; the first group is the tool's name.
        call_end: closes it.
        value: opens a value; the first group is the key.
        value_end: closes it.
        line_end: closes it at the end of a line.
    """

    shown: str
    call: re.Pattern[str]
    call_end: re.Pattern[str]
    value: re.Pattern[str]
    value_end: re.Pattern[str]
    line_end: re.Pattern[str]

    @classmethod
    def of(cls, shown: str, call: str, call_end: str, value: str, value_end: str) -> TagForm:
        """Return the form of tags, given as regular expressions."""
        return cls(
            shown,
            re.compile(call),
            re.compile(rf"{call_end}(?=\s*(?:{call}|\Z))"),
            re.compile(value),
            re.compile(rf"{value_end}(?=\s*(?:{value}|\Z))"),
            re.compile(rf"{value_end}[ \t]*\n"),
        )


@dataclass(frozen=True, slots=True)
class TaggedValue:
    """One value: the match of its opening tag, and the text up to its end."""

    opened: re.Match[str]
    text: str

    @property
    def key(self) -> str:
        """The name of the parameter."""
        return self.opened[1].strip()


def _calls(text: str, form: TagForm) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and the body of each call, and whether its closing tag was there."""
    place = 0
    while (opened := form.call.search(text, place)) is not None:
        end = form.call_end.search(text, opened.end())
        place = len(text) if end is None else end.end()
        yield opened[1].strip(), text[opened.end() : place if end is None else end.start()], end is not None


def _values(name: str, body: str, form: TagForm, payload: Payload, *, closed: bool) -> list[TaggedValue]:
    """Return the values of a call.

    Raises:
        PayloadError: something else is between them, a key is given twice, or nothing ends the last one.
    """
    found: dict[str, TaggedValue] = {}
    place = 0
    while opened := form.value.search(body, place):
        if body[place : opened.start()].strip():
            break  # other text, which the check below the loop refuses
        end = form.value_end.search(body, opened.end())
        stop = len(body) if end is None else end.start()
        dropped = _dropped_end(name, body, opened, stop, form, payload, found)
        if dropped is None and end is None and not closed:
            raise PayloadError(f"nothing ends the value of {opened[1].strip()!r}", name, closed=False)
        text = body[opened.end() : stop if dropped is None else dropped]
        value = TaggedValue(opened, text if dropped is None else text.removesuffix("\n"))
        # Not closed, so not run: a tag in the value of a string would otherwise set another argument.
        if value.key in found:
            raise PayloadError(
                f"the value of {value.key!r} is given twice, or holds a tag", name, closed=False
            )
        found[value.key] = value
        place = dropped if dropped is not None else stop if end is None else end.end()
    if body[place:].strip():
        raise PayloadError(f"between the values of the call there is other text; write {form.shown}", name)
    _check_whole(name, found, form, payload)
    return list(found.values())


def _check_whole(name: str, found: Mapping[str, TaggedValue], form: TagForm, payload: Payload) -> None:
    """Refuse a value that may hold another one.

    Raises:
        PayloadError: it does, as far as can be told.
    """
    tool = payload.tools.get(name)
    if tool is None or tool.parameters.get("properties", {}).keys() <= found.keys():
        return
    for value in found.values():
        if form.line_end.search(value.text):
            raise PayloadError(
                f"the value of {value.key!r} holds a closing tag: it may hold another parameter too",
                name,
                closed=False,
            )


def _dropped_end(
    name: str,
    body: str,
    opened: re.Match[str],
    stop: int,
    form: TagForm,
    payload: Payload,
    found: Mapping[str, TaggedValue],
) -> int | None:
    """Return where a value ends whose closing tag was dropped; None where it was not."""
    tool = payload.tools.get(name)
    if tool is None:
        return None
    given = {*found, opened[1].strip()}
    for following in form.value.finditer(body, opened.end(), stop):
        key = following[1].strip()
        if key in given or not _begins_line(body, opened.end(), following.start()):
            continue
        if property_schema(tool.parameters, key) is not None:
            return following.start()
    return None


def _begins_line(text: str, start: int, place: int) -> bool:
    """Return whether only blanks are between the beginning of a line, or of a stretch, and a place."""
    while place > start and text[place - 1] in " \t":
        place -= 1
    return place == start or text[place - 1] == "\n"


def _read(payload: Payload, form: TagForm, *, wrapped: bool = True) -> list[FoundCall]:
    found = []
    for name, body, closed in _calls(payload.text, form):
        try:
            values = _values(name, body, form, payload, closed=closed)  # a call's tag ends its last value too
        except PayloadError as error:
            found.append(FoundCall(name, None, error=str(error), closed=error.closed))
            continue
        texts = [(value.key, _unwrap(value.text) if wrapped else value.text) for value in values]
        found.append(FoundCall(name, read_values(name, texts, payload.tools)))
    if not found:
        raise PayloadError(f"a call must have the form {form.shown}")
    return found


def _unwrap(value: str) -> str:
    """Take off the one line break that the form puts on either side."""
    return value.removeprefix("\n").removesuffix("\n")


_FUNCTION = TagForm.of(
    "<function=name>", r"<function=([^>\n]+)>", "</function>", r"<parameter=([^>\n]+)>", "</parameter>"
)
_INVOKE = TagForm.of(
    '<invoke name="name">',
    r"<invoke name=\"?([^\">\n]+)\"?>",
    "</invoke>",
    r"<parameter name=\"?([^\">\n]+)\"?>",
    "</parameter>",
)
_KEYED = TagForm.of(
    "name<arg_key>key</arg_key><arg_value>value</arg_value>",
    r"\A([^<]*)",
    r"\Z",
    r"<arg_key>([^<\n]*)</arg_key>\s*<arg_value>",
    "</arg_value>",
)


def read_tagged(payload: Payload) -> list[FoundCall]:
    r"""Read `<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>`.

    Raises:
        PayloadError: there is no function.
    """
    return _read(payload, _FUNCTION)


def read_verbatim(payload: Payload) -> list[FoundCall]:
    """Read what `read_tagged` reads, with the line breaks at both ends of a value as parts of it.

    Raises:
        PayloadError: there is no function.
    """
    return _read(payload, _FUNCTION, wrapped=False)


def read_invokes(payload: Payload) -> list[FoundCall]:
    r"""Read `<invoke name="NAME">\n<parameter name="KEY">VALUE</parameter>\n</invoke>`.

    Raises:
        PayloadError: there is no call.
    """
    return _read(payload, _INVOKE)


def read_keyed(payload: Payload) -> list[FoundCall]:
    """Read `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>` whose tags are ordinary text.

    Raises:
        PayloadError: there is no name, or nothing ends the last value.
    """
    head, _, rest = payload.text.partition("<arg_key>")
    name = head.strip()
    # Text behind a mark that only mentions calls goes on like this, and is no name.
    if not name or "\n" in name or "<" in name:
        raise PayloadError("a call must begin with the tool's name, and then its keys")
    body = f"<arg_key>{rest}" if rest else ""
    # No tag ends the call itself, which could end a value whose own end is missing.
    values = _values(name, body, _KEYED, payload, closed=False)
    return [FoundCall(name, read_values(name, [(value.key, value.text) for value in values], payload.tools))]


_DSML = "｜DSML｜"
_CONTROL_DSML = "\ufffd｜DSML｜"
"""The name as a control token: where a vocabulary has it, tags are those that hold the token."""


def _dsml(mark: str) -> TagForm:
    """Return the tags whose names begin with one spelling of the mark; V4.1 writes a space behind it."""
    return TagForm.of(
        f'<{_DSML}invoke name="name">...</{_DSML}invoke>',
        rf"<{mark} ?invoke name=\"([^\">\n]+)\">",
        rf"</{mark} ?invoke>",
        rf"<{mark} ?parameter name=\"([^\">\n]+)\"(?: string=\"(true|false)\")?>",
        rf"</{mark} ?parameter>",
    )


_DSML_TEXT, _DSML_CONTROL = _dsml(_DSML), _dsml(_CONTROL_DSML)


def read_dsml(payload: Payload) -> list[FoundCall]:
    """Read `invoke` and `parameter` tags whose names begin with `｜DSML｜`.

    A parameter with `string="true"` is text as it is, with `"false"` it is JSON. Where it does not say, or
    says otherwise than the tool's schema, the schema decides; a string may then still be JSON.

    Raises:
        PayloadError: there is no call.
    """
    form = _DSML_CONTROL if _CONTROL_DSML in payload.text else _DSML_TEXT
    found = [_dsml_call(*call, form, payload) for call in _calls(payload.text, form)]
    if not found:
        raise PayloadError(f"a call must have the form {form.shown}")
    return found


def _dsml_call(name: str, body: str, closed: bool, form: TagForm, payload: Payload) -> FoundCall:
    if not closed:
        return FoundCall(name, None, error="nothing ends the call", closed=False)
    try:
        # Not closed: here a value ends with its own tag, and never with the call's.
        values = _values(name, body, form, payload, closed=False)
        arguments = {value.key: _dsml_value(value, name, payload) for value in values}
    except PayloadError as error:
        return FoundCall(name, None, error=str(error), closed=error.closed)
    return FoundCall(name, arguments)


def _dsml_value(value: TaggedValue, name: str, payload: Payload) -> object:
    is_text, types = value.opened[2], _declared_types(value.key, name, payload)
    # Models also mark a number as a string, and a string as none: the declared type decides.
    is_wrong = bool(types) and ("string" not in types if is_text == "true" else types <= {"string", "null"})
    if is_wrong and is_text == "false" and (string := _json_string(value.text)) is not None:
        return string
    if is_text is None or is_wrong:
        return read_values(name, [(value.key, value.text)], payload.tools)[value.key]
    return value.text if is_text == "true" else load_json(value.text, f"the value of {value.key}", name)


def _json_string(text: str) -> str | None:
    """Return the string that a text is the JSON of; None where it is something else."""
    try:
        found = load_json(text, "the value")
    except PayloadError:
        return None
    return found if isinstance(found, str) else None


def _declared_types(key: str, name: str, payload: Payload) -> set[str]:
    """Return the types that a tool declares for a parameter; none where it is not said."""
    if name not in payload.tools:
        return set()
    root = payload.tools[name].parameters
    return schema_types(member_schema(root, key, root), root)
