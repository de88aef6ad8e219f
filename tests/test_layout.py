"""Imports run one way: walks them in both packages and holds the direction, the bans, and the ranks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ASYNC = ("asyncio", "anyio", "trio", "sniffio")
HTTP = ("httpx", "aiohttp", "requests", "urllib3", "socket", "ssl")
TELEMETRY = ("opentelemetry",)
CLOCKS = ("time", "datetime")

BANS = {
    "codec_core": (*ASYNC, *HTTP, *TELEMETRY, *CLOCKS, "codec_agents"),
    "codec_agents/graph": (*ASYNC, *HTTP, *TELEMETRY),
}
ALLOWED = {"codec_core/discovery": ("httpx",)}

SOURCES = sorted(
    path for package in ("codec_core", "codec_agents") for path in (ROOT / package).rglob("*.py")
)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node, *, within_functions):
    """Yield the import statements that run; those under TYPE_CHECKING never do."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif is_type_checking(child):
            for alternative in child.orelse:
                yield from statements(alternative, within_functions=within_functions)
        elif within_functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from statements(child, within_functions=within_functions)


def imports(path, *, within_functions=True):
    """Return the modules that a file names in its imports, in full."""
    named = set()
    for node in statements(ast.parse(path.read_text()), within_functions=within_functions):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        else:
            base = absolute(path, node)
            members = {f"{base}.{alias.name}" for alias in node.names}
            # A package that is only the way to its submodules is not what is imported.
            named.update(members if members <= MODULES.keys() else {base, *members})
    return named


def absolute(path, node):
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join((*package, *((node.module or "").split(".") if node.module else ())))


def banned_in(path):
    place = path.relative_to(ROOT).as_posix()
    banned = {name for folder, names in BANS.items() if place.startswith(folder + "/") for name in names}
    return banned - {
        name for folder, names in ALLOWED.items() if place.startswith(folder + "/") for name in names
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_imports_what_its_layer_must_not_know(path):
    banned = banned_in(path)
    found = sorted(name for name in imports(path) if name.split(".")[0] in banned)
    assert not found, f"{path.relative_to(ROOT)} imports {found}"


def graph():
    """Return module to modules, as they import each other when they are first loaded."""
    return {
        name: {found for found in imports(path, within_functions=False) if found in MODULES and found != name}
        for name, path in MODULES.items()
    }


def cycles(edges):
    """Return the strongly connected components of more than one module, by Tarjan's algorithm."""
    order, low, stack, found = {}, {}, [], []
    for root in edges:
        work = [(root, iter(sorted(edges[root])))] if root not in order else []
        if work:
            order[root] = low[root] = len(order)
            stack.append(root)
        while work:
            node, following = work[-1]
            successor = next(following, None)
            if successor is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    at = stack.index(node)
                    component, stack[at:] = stack[at:], []
                    found += [sorted(component)] if len(component) > 1 else []
            elif successor not in order:
                order[successor] = low[successor] = len(order)
                stack.append(successor)
                work.append((successor, iter(sorted(edges[successor]))))
            elif successor in stack:
                low[node] = min(low[node], order[successor])
    return found


def without_roots(edges):
    """Leave the root modules out: they re-export, and no module of a package imports its own root."""
    roots = ("codec_core", "codec_agents")
    return {name: found - set(roots) for name, found in edges.items() if name not in roots}


def test_there_are_no_cycles():
    assert cycles(without_roots(graph())) == []


def test_no_module_imports_the_root_of_its_own_package():
    offenders = [name for name, found in graph().items() if name.split(".")[0] in found]
    assert offenders == []


def test_the_walker_sees_cycles_and_forgives_none():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("package", ["codec_core", "codec_agents"])
def test_the_architecture_names_every_part_of_a_package(package):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {package}\n")[1].split("\n## ")[0]
    rows = [line.rsplit("|", 2)[0] for line in section.splitlines() if line.startswith("|")]
    named = {
        name.rstrip("/") for name in re.findall(r"`([\w/]+)`", " ".join(rows) + section.split("\n\n")[-1])
    }
    parts = {name.split(".")[1] for name in MODULES if name.count(".") and name.startswith(f"{package}.")}
    assert parts - named == set(), "parts that docs/architecture.md does not name"
