"""The layout: imports run one way, and folders stay small enough to read.

The walk sees imports at load, lazy ones, type-only ones, and tables of module names.
"""

import ast
import re
from functools import cache
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
ALLOWED = {
    "codec_core/discovery/addresses.py": ("anyio",),
    "codec_core/discovery/fetch.py": ("anyio", "httpx"),
}
"""The look-up of names and the download, which know the network. httpx's clients load anyio in any case; with
it both work under asyncio and trio alike."""

RANKS = (
    {"codec_core", "concurrency", "display", "faults", "strict_json"},
    {"exceptions", "vocabularies"},
    {"references", "prompts"},
    {"graph"},
    {"tools"},
    {"dialects"},
    {"engines", "events"},
    {"plan", "turn"},
    {"compiler", "records"},
    {"telemetry", "trace"},
    {"runtime"},
    {"replay"},
    {"pipeline"},
    {"server"},
    {"bridges", "scale"},
    {"cli", "testing"},
)
"""The parts of `codec_agents`, lowest first. A part imports only itself and parts of lower ranks."""

ALIASES = {
    "codec_agents.dialects.chat_template": "0.3",
    "codec_agents.mcp": "0.3",
    "codec_agents.pause": "0.3",
    "codec_agents.recorded": "0.3",
    "codec_agents.server.transformers": "0.3",
}
"""Modules that only keep a documented path alive, and the version in which each is removed."""

MAX_FLAT_MODULES = 8
MAX_FILES = 22
UNBOUNDED = {"codec_agents/dialects/families"}
"""Folders of interchangeable files, of which there may be any number."""

MAX_LINES = 420
LONG = {"codec_agents/exceptions.py", "codec_agents/graph/declaration.py"}
"""Longer files that are one concept; docs/architecture.md says why."""

MODULE_NAME = re.compile(r"codec_(?:agents|core)(?:\.\w+)+(?::\w+)?")

DEMO = ROOT / "codec_agents" / "cli" / "demo"
"""Programs of a user, which the command `demo` runs from their files: data, not modules of the package."""

SOURCES = sorted(
    path
    for package in ("codec_core", "codec_agents")
    for path in (ROOT / package).rglob("*.py")
    if DEMO not in path.parents
)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node, *, within_functions):
    """Yield the import statements that run when a module is loaded, or also those inside functions."""
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
    return banned - set(ALLOWED.get(place, ()))


def test_nothing_imports_what_its_layer_must_not_know():
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in SOURCES
        if (names := sorted(name for name in imports(path) if name.split(".")[0] in banned_in(path)))
    }
    assert found == {}


def named_modules(path):
    """Return every module that a file names: by any import, or as a string in a table."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            members = {f"{base}.{alias.name}" for alias in node.names}
            named.update(member if member in MODULES else base for member in members)
        elif isinstance(node, ast.Constant) and MODULE_NAME.fullmatch(str(node.value)):
            named.add(node.value.partition(":")[0])
    return named & MODULES.keys()


@cache
def graph():
    """Return each module with the modules that it names."""
    return {name: named_modules(path) - {name} for name, path in MODULES.items()}


def part_of(module):
    """Return the part that has a rank; None for the root, which only exports."""
    package, _, rest = module.partition(".")
    return package if package == "codec_core" else rest.split(".")[0] or None


def rank_of(module):
    return next(number for number, parts in enumerate(RANKS) if part_of(module) in parts)


def test_every_import_leads_to_a_lower_rank():
    upward = [
        f"{name} -> {found}"
        for name, named in graph().items()
        for found in named
        if part_of(name) and part_of(found) and name not in ALIASES
        if part_of(name) != part_of(found) and rank_of(name) <= rank_of(found)
    ]
    assert upward == []


@pytest.mark.parametrize("layer", ["nodes", "edges", "model"])
def test_nodes_and_edges_know_only_the_contexts(layer):
    owners = {"codec_agents.runtime.executor", "codec_agents.runtime.run"}
    prefix = f"codec_agents.runtime.{layer}."
    offenders = {name: named & owners for name, named in graph().items() if name.startswith(prefix)}
    assert offenders
    assert not any(offenders.values()), offenders


def test_few_modules_lie_flat():
    flat = {name for name, path in MODULES.items() if path.parent == ROOT / "codec_agents"}
    assert len(flat - ALIASES.keys() - {"codec_agents"}) <= MAX_FLAT_MODULES


def test_no_folder_is_too_large_to_read():
    folders = {path.parent for path in SOURCES}
    files = {
        folder.relative_to(ROOT).as_posix(): sum(
            path.parent == folder and module_of(path) not in ALIASES for path in SOURCES
        )
        for folder in folders
    }
    assert {
        folder: count for folder, count in files.items() if count > MAX_FILES and folder not in UNBOUNDED
    } == {}


def test_no_file_is_too_long_to_read():
    lines = {path.relative_to(ROOT).as_posix(): path.read_bytes().count(b"\n") for path in SOURCES}
    assert {path for path, count in lines.items() if count > MAX_LINES} == LONG


@pytest.mark.parametrize("module", sorted(ALIASES))
def test_an_alias_says_when_it_goes_and_does_nothing_else(module):
    tree = ast.parse(MODULES[module].read_text())
    assert f"removed in {ALIASES[module]}" in (ast.get_docstring(tree) or "")
    assert {type(node) for node in tree.body} == {ast.Expr, ast.ImportFrom, ast.Assign}
    assert not any(module in named for name, named in graph().items()), "the package itself uses the new path"


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
