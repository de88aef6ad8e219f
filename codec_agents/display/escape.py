"""Foreign text on a terminal: characters that steer it or that cannot be seen are written as escapes.

Models, maps, YAML files, tools and MCP servers write what the commands print. All of it passes `escape`.
"""

from __future__ import annotations

import regex

_HIDDEN = regex.compile(
    # Controls, bidirectional and other format characters, line separators, lone surrogates, and what Unicode
    # says is not drawn (fillers, tags). A single variation selector only chooses how the emoji before it
    # looks; several in a row carry hidden data.
    r"(?V1)[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]--[\n\t\uFE0E\uFE0F]]"
    r"|(?<=[\uFE0E\uFE0F])[\uFE0E\uFE0F]"
)


def escape(text: str) -> str:
    r"""Return text with its hidden characters spelled, as `\x1b` or `\u202e`; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    shown: str = _HIDDEN.sub(_spelled, text.replace("\r\n", "\n"))
    return shown


def escape_line(text: str) -> str:
    r"""Return text that stays on its line: line ends and tabs are spelled, too."""
    return escape(text).replace("\n", r"\n").replace("\t", r"\t")


def escape_json(document: str) -> str:
    r"""Return a JSON document in which hidden characters are `\u` escapes: an equal document."""
    if document.isascii() and document.isprintable():
        return document
    # Outside its strings JSON is ASCII, so each match is inside one, where the escape means the character.
    shown: str = _HIDDEN.sub(_json_spelled, document)
    return shown


def _spelled(found: regex.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_spelled(found: regex.Match[str]) -> str:
    units = found.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
