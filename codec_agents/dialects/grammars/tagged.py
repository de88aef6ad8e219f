"""Calls written in tags of ordinary text, whose values have the types that the tool's schema says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codec_agents.dialects.grammars.base import (
    FoundCall,
    Payload,
    PayloadError,
    load_json,
    read_values,
)

_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>(?=\s*(?:<function=|\Z))|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>(?=\s*(?:<parameter=|\Z))|\Z)", re.DOTALL)
_INVOKE = re.compile(r"<invoke name=\"?([^\">\n]+)\"?>(.*?)(?:</invoke>(?=\s*(?:<invoke |\Z))|\Z)", re.DOTALL)
_NAMED = re.compile(
    r"<parameter name=\"?([^\">\n]+)\"?>(.*?)(?:</parameter>(?=\s*(?:<parameter |\Z))|\Z)", re.DOTALL
)


def read_tagged(payload: Payload) -> list[FoundCall]:
    r"""Read `<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>`.

    Raises:
        PayloadError: there is no function.
    """
    return _read(payload, _FUNCTION, _PARAMETER, "<function=name>")


def read_invokes(payload: Payload) -> list[FoundCall]:
    r"""Read `<invoke name="NAME">\n<parameter name="KEY">VALUE</parameter>\n</invoke>`.

    Raises:
        PayloadError: there is no call.
    """
    return _read(payload, _INVOKE, _NAMED, '<invoke name="name">')


_PAIR = re.compile(
    r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>(?=\s*(?:<arg_key>|\Z))|\Z)", re.DOTALL
)


def read_keyed(payload: Payload) -> list[FoundCall]:
    """Read `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>` whose tags are ordinary text.

    Raises:
        PayloadError: there is no name.
    """
    head, _, rest = payload.text.partition("<arg_key>")
    name = head.strip()
    if not name:
        raise PayloadError("a call must begin with the tool's name")
    values = [(pair[1].strip(), pair[2]) for pair in _PAIR.finditer(f"<arg_key>{rest}" if rest else "")]
    return [FoundCall(name, read_values(name, values, payload.tools))]


_DSML = "｜DSML｜"
_CONTROL_DSML = "\ufffd｜DSML｜"
"""The name as a control token: where a vocabulary has it, tags are those that hold the token."""


@dataclass(frozen=True, slots=True)
class _DsmlForm:
    """The patterns of tags whose names begin with one spelling of the name; V4.1 writes a space behind it."""

    call: re.Pattern[str]
    value: re.Pattern[str]

    @classmethod
    def of(cls, mark: str) -> _DsmlForm:
        """Return the patterns for one spelling."""
        call = (
            rf"<{mark} ?invoke name=\"([^\">\n]+)\">(.*?)</{mark} ?invoke>"
            rf"(?=\s*(?:<{mark} ?invoke |</{mark}|\Z))"
        )
        value = (
            rf"<{mark} ?parameter name=\"([^\">\n]+)\"(?: string=\"(true|false)\")?>(.*?)</{mark} ?parameter>"
            rf"(?=\s*(?:<{mark} ?parameter |\Z))"
        )
        return cls(re.compile(call, re.DOTALL), re.compile(value, re.DOTALL))


_DSML_TEXT, _DSML_CONTROL = _DsmlForm.of(_DSML), _DsmlForm.of(_CONTROL_DSML)


def read_dsml(payload: Payload) -> list[FoundCall]:
    """Read `invoke` and `parameter` tags whose names begin with `｜DSML｜`.

    A parameter with `string="true"` is text as it stands, with `"false"` it is JSON; where it does not say,
    the tool's schema does.

    Raises:
        PayloadError: there is no call.
    """
    form = _DSML_CONTROL if _CONTROL_DSML in payload.text else _DSML_TEXT
    found = [
        _dsml_call(match[1], list(form.value.finditer(match[2])), payload)
        for match in form.call.finditer(payload.text)
    ]
    if not found:
        raise PayloadError(f'a call must have the form <{_DSML}invoke name="name">...</{_DSML}invoke>')
    return found


def _dsml_call(name: str, values: list[re.Match[str]], payload: Payload) -> FoundCall:
    untyped = read_values(name, [(value[1], value[3]) for value in values if not value[2]], payload.tools)
    try:
        arguments = {
            value[1]: value[3]
            if value[2] == "true"
            else load_json(value[3], f"the value of {value[1]}", name)
            for value in values
            if value[2]
        }
    except PayloadError as error:
        return FoundCall(name, None, error=str(error))
    return FoundCall(name, {**untyped, **arguments})


def _read(payload: Payload, call: re.Pattern[str], parameter: re.Pattern[str], form: str) -> list[FoundCall]:
    """A closing tag ends a value only where another tag, or nothing, follows: values may hold tags."""
    found = []
    for match in call.finditer(payload.text):
        name = match[1].strip()
        values = [(pair[1].strip(), _unwrap(pair[2])) for pair in parameter.finditer(match[2])]
        found.append(FoundCall(name, read_values(name, values, payload.tools)))
    if not found:
        raise PayloadError(f"a call must have the form {form}")
    return found


def _unwrap(value: str) -> str:
    """Take off the one line break that the form puts on either side."""
    return value.removeprefix("\n").removesuffix("\n")
