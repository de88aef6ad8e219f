"""The span of one tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from opentelemetry.trace import Status, StatusCode

from codec_agents.telemetry import names
from codec_agents.telemetry.scope import Attributes, Scope, links_to

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt, ToolCall


class ToolScope(Scope):
    """`execute_tool {tool}`: one attempt, failed ones included."""

    __slots__ = ("_attempt", "_call", "_metric")

    def __init__(self, parent: Scope, node: str, call: ToolCall, asked_by: Scope | None) -> None:
        self._call = call
        self._attempt: Attempt | None = None
        self._metric: Attributes = {names.OPERATION: names.TOOL, names.TOOL_NAME: call.name}
        attributes = {**self._metric, names.TOOL_TYPE: "function", names.AGENT: node}
        if call.stop > call.start:  # only a call that was read from a turn has a place there
            attributes[names.REGION_TOKENS] = call.stop - call.start
        if call.call_id:
            attributes[names.TOOL_CALL_ID] = call.call_id
        links = links_to([asked_by] if asked_by else [])
        name = f"{names.TOOL} {call.name}"
        super().__init__(
            parent.telemetry, name, parent.context, attributes, pipeline=parent.pipeline, links=links
        )

    def finish(self, attempt: Attempt) -> None:
        """End the span with the attempt; a status other than `ok` is an error of that name."""
        self._attempt = attempt
        self.end()

    @property
    def _failure(self) -> str | None:
        if self._attempt is not None and self._attempt.status != "ok":
            return str(self._attempt.status)
        return None if self._error is None else type(self._error).__name__

    def _closing_attributes(self) -> Attributes:
        found: Attributes = {}
        if self._attempt is not None:
            found[names.TOOL_STATUS] = self._attempt.status
            if self._failure:
                found[names.ERROR_TYPE] = self._failure
                self.span.set_status(Status(StatusCode.ERROR, self._failure))
            if self.telemetry.capture_content:
                found[names.TOOL_ARGUMENTS] = msgspec.json.encode(self._call.arguments).decode()
                found[names.TOOL_RESULT] = self._attempt.text
        return found

    def _record(self) -> None:
        failure = self._failure
        attributes = self._of_pipeline(self._metric)
        if failure:
            attributes[names.ERROR_TYPE] = failure
        self.telemetry.instruments.tool.record(self.seconds, attributes)
