"""The plans of a served pipeline: with what a client tells a model, and with a conversation to continue."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codec_agents.dialects.messages import Message
from codec_agents.exceptions import DialectError, PromptError, ToolDefinitionError
from codec_agents.graph.chat import Chat
from codec_agents.graph.templates import Slot, Text, parse_template
from codec_agents.plan.nodes import BuiltModel, PromptedNode
from codec_agents.plan.variants import prompted_nodes, told
from codec_agents.prompts import History
from codec_agents.server.backends.pipeline_requests import Asked
from codec_agents.server.http import HttpError
from codec_agents.tools.calls import ToolContext
from codec_agents.tools.tool import Tool, checked_name

if TYPE_CHECKING:
    from codec_agents.graph.serving import ServeSpec
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.server.apis.request import OfferedTool

MOST_PLANS: Final = 64
"""Plans that are kept. Agents tell the same system text and tools with each request of a conversation."""

MOST_RESULT: Final = 8 * 1024 * 1024
"""Characters of a client's result: no body is larger, so none is cut."""


class Plans:
    """Makes plans for what clients tell models."""

    def __init__(self, built: BuiltPipeline, serve: ServeSpec) -> None:
        self._built = built
        self._serve = serve
        self._kept: OrderedDict[bytes, BuiltPipeline] = OrderedDict()
        self._lock = threading.Lock()

    def key_of(self, asked: Asked) -> bytes:
        """Return what a client tells models, as one text; empty where it tells them nothing."""
        if asked.system is None and not asked.tools:
            return b""
        tools = [(tool.name, tool.description, tool.parameters) for tool in asked.tools]
        return msgspec.json.encode((asked.system, tools))

    def plan_for(self, asked: Asked, key: bytes) -> BuiltPipeline:
        """Return the plan in which models are told the client's system text and tools.

        It encodes them, unless the plan is kept. Any thread may call it.

        Raises:
            HttpError: 400, a model has no form for them, or a tool of the same name.
        """
        if not key:
            return self._built
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        # Without the lock, for which the event loop may wait. Two threads may make the same plan.
        plan = self._told(asked)
        with self._lock:
            self._kept[key] = plan
            if len(self._kept) > MOST_PLANS:
                self._kept.popitem(last=False)
        return plan

    def _told(self, asked: Asked) -> BuiltPipeline:
        plan = self._built
        try:
            # `read_asked` has refused parts that have no place.
            if asked.system is not None:
                assert self._serve.system is not None
                plan = told(plan, self._serve.system, system=asked.system)
            if asked.tools:
                assert self._serve.tools is not None
                plan = told(plan, self._serve.tools, tools=[client_tool(tool) for tool in asked.tools])
        except (PromptError, DialectError) as error:
            raise HttpError(400, f"the chat cannot be written for this model: {error}") from error
        except ToolDefinitionError as error:
            raise HttpError(400, f"the tools cannot be told to this model: {error}", param="tools") from error
        return plan


def client_tool(tool: OfferedTool) -> Tool:
    """Return a tool that a client runs: a call suspends the run until a request has the result.

    Raises:
        ToolDefinitionError: no model can write its name.
    """
    return Tool(
        name=checked_name(tool.name),
        description=tool.description,
        parameters=tool.parameters,
        call=_result_sent,
        is_async=True,
        validate=_nothing,
        context_parameter="context",
        max_result=MOST_RESULT,
        # What suspends the run at the call.
        approval=True,
    )


async def _result_sent(context: ToolContext) -> Any:
    results: Mapping[str, str] = context.deps
    return results[context.call_key]


def _nothing(_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take any arguments: the client checks them."""
    return {}


def is_client_tool(plan: BuiltPipeline, node: str, name: str) -> bool:
    """Return whether a client runs a tool of a node."""
    model = plan.nodes[node]
    tool = model.dispatcher.tools.get(name) if isinstance(model, BuiltModel) else None
    return tool is not None and tool.call is _result_sent


def histories_of_text(
    plan: BuiltPipeline, source: str, messages: Sequence[Message]
) -> Mapping[str, History] | None:
    """Return a conversation as it would have been, where the messages tell all of it.

    They do for a pipeline of one model whose user turn is the input alone: what the user and the model said
    is then all there was. None for any other pipeline.

    Args:
        plan: the plan.
        source: the input that gets the user's messages.
        messages: the conversation, a model's answer last.

    Raises:
        PromptError: the model's family cannot write it.
    """
    nodes = prompted_nodes(plan)
    [node] = nodes.values() if len(nodes) == 1 else [None]
    if not isinstance(node, BuiltModel) or not _is_input_alone(plan, node, source):
        return None
    assert isinstance(node.prompt, Chat)
    # A model with slots in its system text has an edge into each, which `_is_input_alone` refuses.
    system = _literal(node.prompt.system)
    first = [] if system is None else [Message(role="system", content=system)]
    tools = list(node.dialect.tools.values())
    ids = node.dialect.write([*first, *messages], tools=tools, add_generation_prompt=False)
    # All of it as a prompt: which of the ids were sampled is not known, and nothing has to be.
    return {node.path: History(prompt=ids, generated=[], begin=len(ids), map_hash=node.vocabulary.identity)}


def _is_input_alone(plan: BuiltPipeline, node: PromptedNode, source: str) -> bool:
    prompt = node.prompt
    if not isinstance(prompt, Chat) or prompt.turns or prompt.user is None or node.name not in plan.nodes:
        return False
    user = parse_template(prompt.user)
    edges = plan.edges_into(node.name)
    return (
        len(user) == 1
        and isinstance(user[0], Slot)
        and [(edge.source_node, edge.target_slot) for edge in edges] == [(source, user[0].name)]
    )


def _literal(template: str | None) -> str | None:
    if template is None:
        return None
    return "".join(part.text for part in parse_template(template) if isinstance(part, Text))
