"""Tools as Python functions with a docstring, as Seed-OSS reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.dialects.writing.parameters import parameters_of

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec

_TYPES = {"string": "str", "number": "int", "integer": "int", "boolean": "bool", "array": "list"}
"""The family writes every number as `int`."""

_REQUIRED, _OPTIONAL = "[必填]", "[选填]"


def python_tool(tool: ToolSpec) -> str:
    """Return a tool as a function whose docstring lists its parameters."""
    properties = parameters_of(tool)
    kinds = {name: _TYPES.get(str(schema.get("type")), "Any") for name, schema in properties.items()}
    required = tool.parameters.get("required", ())
    signature = ",".join(f"{name}: {kind}" for name, kind in kinds.items())
    lines = [f"def {tool.name}({signature}):", '    """', f"    {tool.description.strip()}", ""]
    # The template ends a line there with the heading, or without one.
    lines.append("    Args:" if properties else "")
    for name, schema in properties.items():
        needed = _REQUIRED if name in required else _OPTIONAL
        lines.append(f"    - {name} ({kinds[name]}) {needed}: {schema.get('description') or ''}")
    return "\n".join([*lines, "", '    """'])
