"""Read a declaration from a document: expand short forms, read nested files, collect all faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from codec_agents.faults import MAX_COMPARED, MAX_FAULTS, Fault, suggest
from codec_agents.graph.base import BODY_FIELDS, NAME_PATTERN, Place, place_name
from codec_agents.graph.edges import ARROW
from codec_agents.graph.files.document import Document, read_file
from codec_agents.graph.sources import HASH_PATTERN, HUB_PATTERN
from codec_agents.graph.spec import KINDS, TELLING_FIELDS, Nested, PipelineSpec, kind_of

MAX_NESTED_FILES = 8
"""Levels of pipeline files inside pipeline files; more means that a file includes itself."""


def prepare(document: Document, directory: Path | None, depth: int = 0) -> None:
    """Fill in the parts that a file may leave out, so that the data are those of a `PipelineSpec`."""
    if document.data is None and document.faults:
        return  # the faults that kept it from being read are reported already
    if not isinstance(document.data, dict):
        found = "the file is empty" if document.data is None else "the file is not a mapping"
        document.fault((), found, "begin with `pipeline: name` and `nodes:`")
        return
    _prepare_pipeline(document, document.data, (), directory, depth)


def _prepare_pipeline(
    document: Document, data: dict[str, Any], path: Place, directory: Path | None, depth: int
) -> None:
    nodes = data.setdefault("nodes", {})
    if not isinstance(nodes, dict):
        return  # a fault, which the validation that follows reports
    for name, node in nodes.items():
        if isinstance(node, dict):
            _prepare_body(document, node, (*path, "nodes", name), directory, depth)
    _infer_ends(document, data, nodes, path)


def _prepare_body(
    document: Document, node: dict[str, Any], path: Place, directory: Path | None, depth: int
) -> None:
    """Complete the body of a nested pipeline: read it from its file, name it, and prepare it as well."""
    field = next((name for name in BODY_FIELDS if name in node), None)
    if field is None:
        return
    place = (*path, field)
    if isinstance(node[field], str):
        file = node[field]
        body = _read_nested(document, file, place, directory, depth)
        if body is None:
            document.unread.append(place)
            return
        # The name of the file is kept, so that writing the declaration gives the reference back.
        node.update({field: body, "file": file})
        # `file` is also a field of sinks: with it among the fields, the kind is told by the body's.
        node.setdefault("kind", kind_of({field: body}))
    elif isinstance(node[field], dict):
        node[field].setdefault("pipeline", str(path[-1]))
        _prepare_pipeline(document, node[field], place, directory, depth)


def _read_nested(
    document: Document, file: str, place: Place, directory: Path | None, depth: int
) -> dict[str, Any] | None:
    if directory is None:
        document.fault(place, f"the file {file!r} is beside a pipeline file, and there is none", "use a file")
        return None
    if depth >= MAX_NESTED_FILES:
        document.fault(place, f"more than {MAX_NESTED_FILES} files inside one another", "look for a circle")
        return None
    if "\0" in file:  # no system call takes it
        document.fault(place, f"{file!r} is no name of a file", "give a path beside the pipeline file")
        return None
    path = directory / file
    try:
        nested = read_file(path, str(path), document.extent)
    except OSError as error:
        document.fault(
            place, f"cannot read {file!r}: {error.strerror}", "give a path beside the pipeline file"
        )
        return None
    prepare(nested, path.parent, depth + 1)
    # Faults inside it then have the file and line of the nested file.
    document.positions.update({(*place, *at): position for at, position in nested.positions.items()})
    document.faults += nested.faults
    document.unread += [(*place, *at) for at in nested.unread]
    return nested.data if isinstance(nested.data, dict) else None


def _infer_ends(document: Document, data: dict[str, Any], nodes: dict[str, Any], path: Place) -> None:
    """Declare nodes that only edges name: a bare source is a text input, a bare target a text sink."""
    edges = data.get("edges")
    if not isinstance(edges, list):
        return
    declared = list(nodes)
    inferred = 0
    for index, edge in enumerate(edges):
        for field, end in _ends(edge):
            # A port or slot belongs to a node that is declared; a wrong name is reported where it is written.
            if "." in end or end in nodes or not re.fullmatch(NAME_PATTERN, end):
                continue
            nodes[end] = {"kind": "input"} if field == "from" else {"kind": "sink"}
            place = (*path, "nodes", end)
            position = document.position((*path, "edges", index))
            if position is not None:
                document.positions[place] = position
            inferred += 1
            # Each comparison searches all names.
            if inferred <= MAX_COMPARED:
                _warn_if_close(document, place, end, declared)


def _ends(edge: Any) -> Iterator[tuple[str, str]]:
    if isinstance(edge, str) and edge.count(ARROW) == 1:
        source, target = edge.split(ARROW)
        yield "from", source.strip()
        yield "to", target.strip()
    elif isinstance(edge, Mapping):
        for field in ("from", "to"):
            if isinstance(edge.get(field), str):
                yield field, edge[field].strip()


def _warn_if_close(document: Document, place: Place, name: str, declared: list[str]) -> None:
    remedy = suggest(name, declared)
    if remedy.startswith("did you mean"):
        kind = document_kind(document, place)
        found = f"{name!r} is not declared, and is taken for {kind}"
        position = document.position(place)
        where = (position.file, position.line) if position else (document.file, None)
        remedy = f"{remedy} If not, declare it to say so"
        document.faults.append(Fault(place_name(place), found, remedy, "warning", *where))


def document_kind(document: Document, place: Place) -> str:
    """Return the kind of an inferred node in words."""
    node: Any = document.data
    for part in place:
        node = node[part]
    return "a text input" if node["kind"] == "input" else "a text sink"


@dataclass(frozen=True, slots=True)
class Reading:
    """A declaration as far as it could be read, and its faults."""

    spec: PipelineSpec | None
    """None where the whole could not be read."""
    faults: tuple[Fault, ...]
    unread: frozenset[str] = frozenset()
    """Nodes that could not be read; an edge that names one is not at fault."""
    edges: tuple[int, ...] | None = None
    """The positions of the edges of `spec` in the document, if not all of it could be read."""

    def as_written(self, faults: Iterable[Fault]) -> Iterator[Fault]:
        """Yield faults of `spec` with the numbers that its edges have in the document."""
        for fault in faults:
            match = None if self.edges is None else _EDGE.match(fault.place)
            if match is None or self.edges is None:
                yield fault
            else:
                yield replace(fault, place=f"edges[{self.edges[int(match[1])]}]{match[2]}")


_EDGE = re.compile(r"edges\[(\d+)\](.*)", re.DOTALL)


def read_spec(document: Document) -> Reading:
    """Return the declaration that a prepared document holds."""
    if not isinstance(document.data, dict):
        return Reading(None, tuple(document.faults))
    try:
        spec = PipelineSpec.model_validate(document.data)
    except ValidationError as error:
        unread_places = tuple(map(place_name, document.unread))
        found = islice(validation_faults(error, document.data, document), MAX_FAULTS)
        # A nested file that cannot be read leaves a string in place of a pipeline, which is no second fault.
        faults = [fault for fault in found if not fault.place.startswith(unread_places)]
        rest, unread, edges = _salvage(document.data, error)
        return Reading(rest, (*document.faults, *faults), unread, edges)
    return Reading(spec, tuple(document.faults))


def _salvage(
    data: dict[str, Any], error: ValidationError
) -> tuple[PipelineSpec | None, frozenset[str], tuple[int, ...]]:
    """Read the declaration without the nodes and edges at fault, so that the rest can be checked."""
    paths = [detail["loc"] for detail in error.errors(include_url=False, include_input=False)]
    nodes = {str(path[1]) for path in paths if len(path) > 1 and path[0] == "nodes"}
    edges = {path[1] for path in paths if len(path) > 1 and path[0] == "edges"}
    # Faults outside of nodes and edges stay in it, and end the second attempt.
    rest = dict(data)
    if isinstance(data.get("nodes"), dict):
        rest["nodes"] = {name: node for name, node in data["nodes"].items() if name not in nodes}
    kept: tuple[int, ...] = ()
    if isinstance(data.get("edges"), list):
        kept = tuple(index for index in range(len(data["edges"])) if index not in edges)
        rest["edges"] = [data["edges"][index] for index in kept]
    try:
        return PipelineSpec.model_validate(rest), frozenset(nodes), kept
    except ValidationError:
        return None, frozenset(nodes), kept


def validation_faults(
    error: ValidationError,
    data: Any,
    document: Document | None = None,
    *,
    place: Place = (),
    model: type[BaseModel] = PipelineSpec,
) -> Iterator[Fault]:
    """Yield a fault for each validation error of a value.

    Args:
        error: the validation error.
        data: the value.
        document: the document that the value was read from.
        place: the place of the value in the declaration.
        model: the model of the value.
    """
    # A fault has a page of its own, and repeats no value, which may be a secret or long.
    for detail in error.errors(include_url=False, include_input=False):
        path, holder = _follow(detail, data, model)
        found, remedy = _describe(detail, path, holder, _value_at(data, path))
        position = document.position(path) if document else None
        where = (position.file, position.line) if position else (document.file if document else None, None)
        yield Fault(place_name((*place, *path)), found, remedy, "error", *where)


def _follow(detail: ErrorDetails, data: Any, root: type[BaseModel]) -> tuple[Place, type[BaseModel] | None]:
    """Return the path without the names of alternatives, and the model that holds its last step."""
    location = detail["loc"]
    path: list[str | int] = []
    model: type[BaseModel] | None = root
    holder = model
    for index, part in enumerate(location):
        # pydantic puts the tag of a union behind the node's name; a field of that name comes after the tag.
        after_node = len(path) >= 2 and path[-2] == "nodes" and location[index - 1] == path[-1]
        if after_node and part in KINDS:
            model = KINDS[str(part)]
            continue
        is_missing = detail["type"] == "missing" and index == len(location) - 1
        # Names of alternatives, such as a function's or a type's, are steps of pydantic and not of the data.
        if not is_missing and not _has(data, part):
            continue
        path.append(part)
        holder, model = model, _model_of(model, part)
        data = None if is_missing else data[part]
    return tuple(path), holder


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list | tuple) and part in range(len(data))


def _model_of(model: type[BaseModel] | None, name: str | int) -> type[BaseModel] | None:
    """Return the model of a field's value, where it is one; a step into a list or mapping stays with it."""
    if model is None or not isinstance(name, str):
        return model
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias) or (issubclass(model, Nested) and name in BODY_FIELDS):
            return next(_models_in(field.annotation), None)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _value_at(data: Any, path: Place) -> Any:
    """Return the value at a path; None if there is none."""
    for part in path:
        data = data[part] if _has(data, part) else None
    return data


def _describe(
    detail: ErrorDetails, path: Place, model: type[BaseModel] | None, value: Any
) -> tuple[str, str]:
    """Return the fault in words, and a remedy."""
    kind, name = detail["type"], path[-1] if path else ""
    if kind == "missing":
        return f"{name!r} is missing", f"add `{name}:`"
    if kind == "extra_forbidden":
        return f"there is no field {name!r} here", suggest(str(name), _field_names(model), "fields")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return "the kind of this node is unknown", f"{_misspelt(value)}give it a `kind`: {', '.join(KINDS)}"
    if kind == "string_pattern_mismatch":
        return _form_fault(str(name), detail["ctx"]["pattern"])
    if kind == "literal_error":
        # The value is shown, unlike others: a word of a list is no secret. `live` stands for an object of a
        # program, which no file can hold.
        known = [each for each in re.findall(r"'([^']*)'", detail["ctx"]["expected"]) if each != "live"]
        return f"{value!r} is none of the values for {name!r}", suggest(str(value), known, "values")
    if kind == "too_short":
        return f"{name!r} is empty", REMEDIES[kind]
    message = detail["msg"]
    # The errors of this package have both, in this form; pydantic's own are given a remedy here. Behind a
    # place, the message begins in lower case.
    found, _, remedy = message.partition("; ")
    return found[:1].lower() + found[1:], remedy or REMEDIES.get(kind, "see docs/pipelines.md")


def _form_fault(name: str, pattern: str) -> tuple[str, str]:
    if pattern == NAME_PATTERN:
        return f"{name!r} is not a name", "use letters, digits, _ and -, and begin with a letter"
    return f"{name!r} does not have its form", FORM_REMEDIES.get(pattern, f"write what matches {pattern}")


FORM_REMEDIES: Mapping[str, str] = {
    HASH_PATTERN: "write `sha256:` and 64 hexadecimal digits in lower case",
    HUB_PATTERN: "write `org/model`, or `org/model@revision`",
}
"""Remedies by the pattern that a text does not match."""

REMEDIES: Mapping[str, str] = {
    "edge": "write one edge an item: `planner.answer -> writer.draft`",
    "edge_end": "write `planner.answer`, or `planner` for its usual port or only slot",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "finite_number": "write a number that is neither infinite nor NaN",
    "greater_than": "write a larger number",
    "greater_than_equal": "write a larger number",
    "less_than": "write a smaller number",
    "less_than_equal": "write a smaller number",
    "string_type": "write a text, in quotes where it looks like a number",
    "string_too_short": "write a longer text",
    "dict_type": "write a mapping, `{name: value}`",
    "model_type": "write a mapping, `{name: value}`",
    "model_attributes_type": "write a mapping, `{name: value}`",
    "list_type": "write a list, `[one, another]`",
    "tuple_type": "write a list, `[one, another]`",
    "too_short": "add one",
    "backoff": "correct one of the two",
    "empty_prompt": "give the prompt a `user` or `system` text, or `turns`",
    "engine": "take one of the two out",
    "map": "take one of the two out",
    "output": "keep one of them",
    "piece": "write one piece for each",
    "template": "write {name} for a slot, and {{ and }} for braces",
    "url": "write where the server is: `http://host:port`",
}
"""Remedies by the type of pydantic's error. Errors of this package bring their own."""


def _misspelt(node: Any) -> str:
    """Return a remedy for a field whose name is close to one that implies a node's kind."""
    for name in node if isinstance(node, Mapping) else ():
        remedy = suggest(str(name), (known for known in TELLING_FIELDS if known != name))
        if remedy.startswith("did you mean"):
            return f"for {str(name)!r}: {remedy} Or "
    return ""


def _field_names(model: type[BaseModel] | None) -> list[str]:
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]
