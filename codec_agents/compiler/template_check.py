"""The dialect of a node beside the chat template of its model: a difference is a warning of the build.

The template is rendered in its own process, within its bounds. What a comparison found is kept in the cache
of maps, since it takes some tenths of a second and gives the same each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from codec_agents.compiler.own_templates import Config
from codec_agents.dialects import BoundDialect
from codec_agents.dialects.writing.tool_forms import openai_tool
from codec_agents.exceptions import DialectError
from codec_agents.faults import Fault
from codec_agents.graph.chat import Chat
from codec_core.discovery import DiskMapCache

REMEDY = (
    "write into the chat what the template adds, let the engine write the prompt (`template: engine`), or "
    "name another `dialect:`"
)

_log = logging.getLogger("codec_agents")


def template_fault(
    bound: BoundDialect, config: Config, chat: Chat, *, place: str, cache: DiskMapCache
) -> Fault | None:
    """Return a warning if the model's chat template writes conversations otherwise than the dialect.

    Args:
        bound: the dialect of a node.
        config: what the template needs.
        chat: the node's prompt.
        place: that of the prompt in the declaration.
        cache: where what was found is kept.
    """
    # It comes with an extra: where that is not installed, a warning at each build would say nothing new.
    if find_spec("jinja2") is None:
        _log.info("%s: not compared with the chat template of its model: jinja2 is not installed", place)
        return None
    path = cache.folder / "templates" / "compared" / f"{_key(bound, config, chat)}.json"
    found = _kept(path)
    if found is None:
        try:
            found = _compared(bound, config, chat)
        except DialectError as error:  # its bounds, among others: nothing is kept, so that it is tried again
            said = f"the chat template of the map {bound.vocabulary.id!r} cannot be compared: {error}"
            return Fault(place, said, "", severity="warning")
        _keep(cache, path, found)
    if not found:
        return None
    more = f" ({len(found) - 1} more of this kind)" if len(found) > 1 else ""
    said = (
        f"the dialect {bound.dialect.name!r} writes otherwise than the chat template of the map "
        f"{bound.vocabulary.id!r}; {found[0]}{more}"
    )
    return Fault(place, said, REMEDY, severity="warning")


def _compared(bound: BoundDialect, config: Config, chat: Chat) -> list[str]:
    from codec_agents.dialects.templates.chat_template import check_template_like

    return [str(disagreement) for disagreement in check_template_like(bound, config, chat)]


def _key(bound: BoundDialect, config: Config, chat: Chat) -> str:
    parts = [
        version("codec-agents"), dict(config), bound.dialect.model_dump(mode="json"),
        bound.vocabulary.identity, [openai_tool(tool) for tool in bound.tools.values()], chat.system is None,
        chat.thinking,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _kept(path: Path) -> list[str] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # not compared yet, or the folder was deleted in between
        return None
    return [str(each) for each in found] if isinstance(found, list) else None


def _keep(cache: DiskMapCache, path: Path, found: list[str]) -> None:
    try:
        cache.keep_beside(path, json.dumps(found).encode())
    except OSError as error:  # it is only compared again the next time
        _log.info("what a comparison with a chat template found is not cached: %s", error)
