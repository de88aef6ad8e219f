"""From a declaration to a file, in its short forms."""

from __future__ import annotations

import re
from typing import Any

import yaml

from codec_agents.graph.edges import ARROW, EdgeSpec
from codec_agents.graph.kinds import Node
from codec_agents.graph.spec import Nested, PipelineSpec, kind_of

_ORDER = (
    "pipeline",
    "version",
    "description",
    "imports",
    "programs",
    "engines",
    "maps",
    "dialects",
    "mcp",
    "policy",
    "serve",
    "reward",
    "nodes",
    "edges",
)


def to_data(spec: PipelineSpec) -> dict[str, Any]:
    """Return the declaration as a file holds it: what was set, edges and prompts in their short forms."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"nodes", "edges"})
    data["nodes"] = {name: _node_data(node) for name, node in spec.nodes.items()}
    if spec.edges:
        data["edges"] = [_edge_data(edge) for edge in spec.edges]
    # What was set to nothing reads back as what was not set.
    return {name: data[name] for name in _ORDER if name in data and data[name] not in ({}, [], None)}


def _node_data(node: Node) -> dict[str, Any]:
    data = node.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"kind", "body"})
    data = {name: value for name, value in data.items() if value is not None}
    if isinstance(node, Nested):
        # The body's file is named in place of the body; `file` itself is a field of sinks.
        data = {node.body_field: data.pop("file", None) or to_data(node.body), **data}
    if isinstance(prompt := data.get("prompt"), dict) and set(prompt) == {"user"}:
        data["prompt"] = prompt["user"]
    kind = kind_of(node)
    return data if kind_of(data) == kind else {"kind": kind, **data}


def _edge_data(edge: EdgeSpec) -> str | dict[str, Any]:
    data = edge.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return data if set(data) != {"from", "to"} else f"{edge.source} {ARROW} {edge.target}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and quotes what a YAML 1.2 reader would take for a number."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent lists below their key."""
        super().increase_indent(flow, False)


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


_UNICODE_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")
"""Characters that YAML 1.1 folds like line ends; only escaped do they come back as they were."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if _UNICODE_BREAKS.search(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(spec: PipelineSpec) -> str:
    """Return the declaration as a YAML text, which reads back as an equal declaration."""
    return yaml.dump(to_data(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
