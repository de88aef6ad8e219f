"""The span of one request to the gateway: how its prompt continues, and the place where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace

from codec_agents.telemetry import names, spans

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from codec_agents.server.gateway.continuation import Continuation
    from codec_agents.server.gateway.tree import Node


class RequestSpan:
    """One span, a child of the client's.

    Attributes:
        headers: the headers by which the engine's spans become its children.
    """

    def __init__(self, headers: Mapping[str, str], model: str, continuation: Continuation) -> None:
        verdict = continuation.verdict
        attributes: dict[str, str | int] = {
            names.OPERATION: "chat",
            names.REQUEST_MODEL: model,
            names.USAGE_INPUT: len(continuation.prompt),
            names.PROMPT_KEPT: continuation.kept,
            names.LINEAGE: verdict.kind,
            names.LINEAGE_EQUAL: verdict.equal,
        }
        if verdict.turn is not None:
            attributes[names.LINEAGE_TURN] = verdict.turn
        context = propagate.extract(headers)
        self._span: Span = spans.current().tracer.start_span(
            f"chat {model}", context, trace.SpanKind.SERVER, attributes
        )
        self.headers: dict[str, str] = {}
        propagate.inject(self.headers, trace.set_span_in_context(self._span, context))

    def end(self, node: Node | None) -> None:
        """End the span with the turn that was stored; None where no id came."""
        if node is not None:
            self._span.set_attribute(names.USAGE_OUTPUT, len(node.sampled))
            if node.finish_reason is not None:
                self._span.set_attribute(names.RESPONSE_FINISH_REASONS, (node.finish_reason,))
        if node is None or node.finish_reason is None:
            self._span.set_attribute(names.CANCELLED, True)
        self._span.end()
