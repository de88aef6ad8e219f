"""Dialects that a declaration itself contains: as data, as a file, or as a model's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from codec_agents.compiler.own_templates import read_config, read_text
from codec_agents.dialects import Dialect, get_dialect
from codec_agents.dialects.grammars import Grammar
from codec_agents.exceptions import DialectError
from codec_agents.graph.dialects import DialectSpec
from codec_agents.graph.files.document import read_document


@dataclass(frozen=True, slots=True)
class FoundDialect:
    """A dialect, the reason for choosing it, and its own grammar if it has one."""

    dialect: Dialect
    reason: str
    grammar: Grammar | None = None


def own_dialect(
    name: str, spec: DialectSpec, directory: Path, resolve: Callable[[str], Any], depth: int = 0
) -> FoundDialect:
    """Return a declared dialect.

    Args:
        name: what the declaration calls it.
        spec: what it says.
        directory: where files beside the declaration lie.
        resolve: returns what a reference names.
        depth: how many files lead here.

    Raises:
        DialectError: a file cannot be read, or the fields are none of a dialect.
    """
    base, reason, grammar = _source(name, spec, directory, resolve, depth)
    dialect = _with_fields(name, base, spec.fields)
    said = f"{', '.join(spec.fields)} declared" if spec.fields else ""
    if spec.grammar is not None:
        grammar = resolve(spec.grammar)
        if not callable(grammar):
            raise DialectError(f"{spec.grammar!r} is a {type(grammar).__name__}, and no function")
    return FoundDialect(dialect, "; ".join(part for part in (reason, said) if part), grammar)


def _source(
    name: str, spec: DialectSpec, directory: Path, resolve: Callable[[str], Any], depth: int
) -> tuple[Dialect | None, str, Grammar | None]:
    if spec.like is not None:
        return get_dialect(spec.like), f"like {spec.like}", None
    if spec.tokenizer_config is not None:
        return *_from_config(directory / spec.tokenizer_config, spec.tokenizer_config), None
    if spec.file is not None:
        # One level: files that name each other would never end.
        if depth:
            raise DialectError(f"the file of the dialect {name!r} names another file; write the fields there")
        inner = _read_spec(name, directory / spec.file)
        # The file's own files lie beside it, not beside the pipeline.
        found = own_dialect(name, inner, (directory / spec.file).parent, resolve, depth + 1)
        return found.dialect, f"the file {spec.file}: {found.reason}", found.grammar
    if spec.call is not None:
        found = resolve(spec.call)
        if not isinstance(found, Dialect):
            raise DialectError(f"{spec.call!r} is a {type(found).__name__}, and no Dialect")
        return found, f"the dialect {spec.call}", None
    return None, "", None


def _from_config(path: Path, shown: str) -> tuple[Dialect, str]:
    from codec_agents.dialects.templates.chat_template import derive_from_config

    dialect, why = derive_from_config(read_config(path, shown))
    return dialect, f"{shown}: {why}"


def _read_spec(name: str, path: Path) -> DialectSpec:
    document = read_document(read_text(path), str(path))
    if document.faults or not isinstance(document.data, dict):
        found = document.faults[0].found if document.faults else "it is no mapping"
        raise DialectError(f"the file {path.name} of the dialect {name!r} cannot be read: {found}")
    try:
        return DialectSpec.model_validate(document.data)
    except ValidationError as error:
        raise DialectError(_said(name, error)) from None


def _with_fields(name: str, base: Dialect | None, fields: Mapping[str, Any]) -> Dialect:
    data = {} if base is None else base.model_dump(mode="json")
    # The name is the one that nodes use, whatever the fields or the base say.
    merged = _merged(data, {**fields, "name": name})
    try:
        return Dialect.model_validate(merged)
    except ValidationError as error:
        raise DialectError(_said(name, error)) from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _said(name: str, error: ValidationError) -> str:
    found = [
        f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return f"the dialect {name!r} is not one: {'; '.join(found)}"
