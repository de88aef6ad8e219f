"""The grammars of call payloads, by name: each returns the calls of a payload, or raises what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping

from codec_agents.dialects.grammars.base import FoundCall, Grammar, Payload, PayloadError
from codec_agents.dialects.grammars.channels import read_channels
from codec_agents.dialects.grammars.elements import read_elements
from codec_agents.dialects.grammars.gemma import read_function_gemma, read_gemma
from codec_agents.dialects.grammars.json_calls import read_json, read_keyed_json
from codec_agents.dialects.grammars.llama import read_llama, read_python_lines
from codec_agents.dialects.grammars.marked import (
    read_blocks,
    read_deepseek,
    read_glm,
    read_harmony,
    read_hunyuan,
    read_kimi,
    read_mistral,
)
from codec_agents.dialects.grammars.tagged import (
    read_dsml,
    read_invokes,
    read_keyed,
    read_tagged,
    read_verbatim,
)

GRAMMARS: Mapping[str, Grammar] = {
    "json": read_json,
    "keyed-json": read_keyed_json,
    "llama": read_llama,
    "python-lines": read_python_lines,
    "tagged": read_tagged,
    "verbatim": read_verbatim,
    "invoke": read_invokes,
    "dsml": read_dsml,
    "mistral": read_mistral,
    "deepseek": read_deepseek,
    "glm": read_glm,
    "blocks": read_blocks,
    "kimi": read_kimi,
    "harmony": read_harmony,
    "channels": read_channels,
    "elements": read_elements,
    "hunyuan": read_hunyuan,
    "keyed": read_keyed,
    "gemma": read_gemma,
    "function-gemma": read_function_gemma,
}

BEGINNINGS: Mapping[str, tuple[str, ...]] = {
    "json": ("{", "[", "functools", "```"),
    "llama": ("{", "["),
    "tagged": ("<function=",),
    "invoke": ("<invoke ",),
    "dsml": ("<｜DSML｜", "<\ufffd｜DSML｜"),
}
"""The beginnings of payloads that text marks, by grammar: other text is no attempt of a call."""

NAMES: Mapping[str, re.Pattern[str]] = {"tagged": re.compile(r"<function=([^>\n]*)[>\n]")}
"""The place of the tool's name in such a payload, where it is at the beginning."""

HEADS: Mapping[str, re.Pattern[str]] = {
    "python-lines": re.compile(r"(?P<name>[A-Za-z_][\w.-]*[ \t]*)(?P<call>\()?")
}
"""The head of a payload that begins with a name: with `call` it is one, otherwise the name may go on."""

__all__ = ["BEGINNINGS", "GRAMMARS", "HEADS", "NAMES", "FoundCall", "Grammar", "Payload", "PayloadError"]
