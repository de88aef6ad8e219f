"""Every name of telemetry: spans, attributes, metrics.

`gen_ai.*`, `server.*` and `error.type` are OpenTelemetry's semantic conventions (GenAI v0.1.0); they are
copied here because the package that holds them is a beta that changes. `codec.*` names what the conventions
do not cover: handoffs, translation, maps, the format of the stream.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "codec_agents"
"""The instrumentation scope of all spans and metrics."""

# --- spans: the operation, then its object ---

RUN: Final = "invoke_workflow"
NODE: Final = "invoke_agent"
CALL: Final = "text_completion"
TOOL: Final = "execute_tool"
HANDOFF: Final = "codec.handoff"

# --- attributes of the conventions ---

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
AGENT: Final = "gen_ai.agent.name"
WORKFLOW: Final = "gen_ai.workflow.name"
"""The v1.41 name; v0.1.0 readers look at `gen_ai.agent.name`."""

REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_TOP_K: Final = "gen_ai.request.top_k"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_STOP: Final = "gen_ai.request.stop_sequences"

RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
USAGE_CACHED: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105 - not that kind of token

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

# --- attributes of this project ---

RUN_ID: Final = "codec.run.id"
PIPELINE_DIGEST: Final = "codec.pipeline.digest"
CANCELLED: Final = "codec.cancelled"
TURN: Final = "codec.turn"
RETRY: Final = "codec.retry"
MAP: Final = "codec.map.id"
SOURCE_MAP: Final = "codec.map.source.id"
TARGET_MAP: Final = "codec.map.target.id"
TEXT_BOUNDARY: Final = "codec.text_boundary"
"""Only where it is true: the engine takes and gives text, and the ids are those of a text."""

STREAM_FORMAT: Final = "codec.stream.format"
STREAM_RECEIVED: Final = "codec.stream.bytes_received"
STREAM_SENT: Final = "codec.stream.bytes_sent"
STREAM_INTERVAL: Final = "codec.stream.chunk_interval"

ENGINE_FIRST_TOKEN: Final = "codec.engine.first_token.duration"  # noqa: S105
"""The time to the first id as reported by the engine, where its answer has one."""

ENGINE_QUEUE: Final = "codec.engine.queue.duration"
ENGINE_PREFILL: Final = "codec.engine.prefill.duration"
CACHE_LOST_FROM: Final = "codec.cache.lost_from"
"""The position from which an engine read anew what it had read before; set where it had lost most of it."""

HANDOFF_SOURCE: Final = "codec.handoff.source"
HANDOFF_TARGET: Final = "codec.handoff.target"
HANDOFF_STRATEGY: Final = "codec.handoff.strategy"
HANDOFF_MODE: Final = "codec.handoff.mode"
HANDOFF_INPUT: Final = "codec.handoff.input_tokens"
HANDOFF_OUTPUT: Final = "codec.handoff.output_tokens"
HANDOFF_TRANSLATE: Final = "codec.handoff.translate.duration"
HANDOFF_TAIL: Final = "codec.handoff.tail.duration"
HANDOFF_DETECT: Final = "codec.handoff.detect.duration"
HANDOFF_WAIT: Final = "codec.handoff.wait.duration"
HANDOFF_RENDER: Final = "codec.handoff.render.duration"
HANDOFF_QUEUE: Final = "codec.handoff.queue.duration"
HANDOFF_REQUEST: Final = "codec.handoff.request.duration"
HANDOFF_PREFILLED: Final = "codec.handoff.prefilled_tokens"
HANDOFF_GAP: Final = "codec.handoff.gap"
HANDOFF_FIRST_TOKEN: Final = "codec.handoff.first_token_latency"  # noqa: S105
HANDOFF_DIRECTION: Final = "codec.handoff.direction"
HANDOFF_DROPPED: Final = "codec.handoff.dropped_tokens"
HANDOFF_REPLACED: Final = "codec.handoff.replaced_sequences"

REGION_TOKENS: Final = "codec.region.tokens"
TOOL_STATUS: Final = "codec.tool.status"

PROMPT_KEPT: Final = "codec.prompt.kept_tokens"
"""The number of ids that the prompt keeps of the turn before, which a prefix cache can hold."""
LINEAGE: Final = "codec.lineage"
"""How the prompt of a request to the gateway continues what is known: extended, forked, rendered or new."""
LINEAGE_TURN: Final = "codec.lineage.turn"
"""The first message that differs, or the first turn without its reasoning, from 1."""
LINEAGE_EQUAL: Final = "codec.lineage.equal_turns"
"""The number of equal turns that the request could continue."""

PROMPT_IDS: Final = "codec.prompt.ids"
"""Only with content capture: token ids are content."""
GENERATED_IDS: Final = "codec.generated.ids"

# --- events, as log records ---

EXCEPTION_EVENT: Final = "gen_ai.client.operation.exception"

# --- metrics of the conventions ---

METRIC_CALL: Final = "gen_ai.client.inference.duration"
METRIC_FIRST_CHUNK: Final = "gen_ai.client.inference.time_to_first_chunk"
METRIC_USAGE_INPUT: Final = "gen_ai.client.inference.usage.input_tokens"
METRIC_USAGE_OUTPUT: Final = "gen_ai.client.inference.usage.output_tokens"
METRIC_USAGE_CACHED: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
METRIC_USAGE_REASONING: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
METRIC_NODE: Final = "gen_ai.invoke_agent.duration"
METRIC_TOOL: Final = "gen_ai.execute_tool.duration"

# --- metrics of this project ---

METRIC_GAP: Final = "codec.handoff.gap"
METRIC_HANDOFF_FIRST_TOKEN: Final = "codec.handoff.first_token_latency"  # noqa: S105
METRIC_HANDOFF_TOKENS: Final = "codec.handoff.tokens"
METRIC_TRANSLATE: Final = "codec.translate.duration"
METRIC_SENT_AHEAD: Final = "codec.prefill.tokens"
METRIC_SENT_AHEAD_FOUND: Final = "codec.prefill.found_tokens"
METRIC_CACHE_LOST: Final = "codec.cache.lost_tokens"
METRIC_STREAM_BYTES: Final = "codec.stream.bytes"

# --- environment ---

CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""`SPAN_ONLY` or `SPAN_AND_EVENT` puts ids, tool arguments and results on spans; all else does not."""
