"""Every error that `codec_agents` raises.

    CodecAgentsError
    ├── PipelineError (ValueError)              a declaration that cannot be built; has `faults`, all of them
    ├── ReferenceRefusedError (ImportError)     a "module:name" that is not allowed or cannot be imported
    ├── SecretMissingError (LookupError)        "${NAME}" whose environment variable is not set
    ├── DialectError (ValueError)               a map without the markers that a model family's dialect needs
    ├── PromptError (ValueError)                a prompt that cannot be assembled
    │   └── ForgedTokenError                    content that holds a control id
    ├── ToolDefinitionError (TypeError)         a callable from which no tool can be made
    ├── RunError                                a run failed; all errors below occur during a run
    │   ├── InputError (ValueError)             the caller's inputs are not those the pipeline declares
    │   ├── NodeFailedError                     a node ended by an error, kept as `cause`
    │   ├── LimitExceededError                  a node reached a limit of its policy
    │   ├── AnswerCutError                      an answer was cut at its length, and the policy is to fail
    │   ├── ContextFullError                    a prompt leaves no room for an answer in the context
    │   ├── ApprovalRequiredError               the run waits for decisions on tool calls; has `pause`
    │   ├── PauseError (ValueError)             a pause, or the decisions, from which a run cannot go on
    │   ├── RepeatedFailureError                a model repeats a tool call that keeps failing in the same way
    │   ├── ToolServerError                     an MCP server that cannot be used; has `server`
    │   ├── RouteError                          a router's model gave none of its labels
    │   ├── OutputError                         an answer that does not have its declared form
    │   ├── RunCancelledError                   the run was cancelled before it had a result
    │   └── EngineError                         an inference server; has `engine`, `delivered`, `transient`
    │       ├── EngineUnavailableError          no connection
    │       ├── EngineStatusError               a status that is not a success; has `status` and `body`
    │       ├── EngineStreamError               the stream was cut off, or violates its format
    │       ├── EngineTimeoutError              no data for longer than allowed; has `phase`
    │       └── MapMismatchError                the server uses another vocabulary than the node
    ├── StoreError                              conversations, or an index of runs, that cannot be used
    │   └── UnfitStoreError                     it is damaged, or of another version or program
    ├── MessageTooLongError (ValueError)        a line to `codec-agents mcp` that is longer than any message
    ├── BatchError (ValueError)                 a batch whose inputs or files cannot be used
    ├── DurableError                            a durable run that cannot be started, answered or gone on with
    │   ├── DurableNotFoundError                there is no durable run of this id
    │   └── DurableIdError                      a text that cannot be the id of a durable run
    └── RecordError (ValueError)                a record of a run that cannot be written, read or replayed
        ├── RecordBusyError                     another run is writing the record
        ├── RecordLostError (RunError)          the record of a run could be written no further
        ├── RecordDamagedError                  a damaged line; has `line`, and `record` up to it
        └── ReplayError (RunError)              a replay came to something that its record does not have

Faults that can be found when a pipeline is built never wait for a run: errors of the first half are raised
before anything is sent.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

from codec_core.exceptions import made_again

if TYPE_CHECKING:
    from codec_agents.faults import Fault

MAX_BODY_EXCERPT = 500
"""Characters of a server's error body in a message: its first lines name the cause."""

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed: time-outs, too many requests, a server in trouble."""

TimeoutPhase: TypeAlias = Literal["connect", "first_id", "idle", "whole"]
"""The phase of a request in which an engine was too slow."""


class CodecAgentsError(Exception):
    """The root of all errors of `codec_agents`."""

    def __reduce__(self) -> tuple[Any, ...]:
        # As in `CodecError`: Python would call the constructor with the message alone.
        return made_again, (type(self), self.args), self.__dict__


# Before a run


class PipelineError(CodecAgentsError, ValueError):
    """A declaration cannot be built.

    Attributes:
        faults: every fault and warning, each with its place, what was found, and a remedy.
    """

    def __init__(self, faults: Sequence[Fault], pipeline: str | None = None) -> None:
        self.faults = tuple(faults)
        self.pipeline = pipeline
        super().__init__(self._message())

    @property
    def errors(self) -> tuple[Fault, ...]:
        """The faults that keep the pipeline from being built."""
        return tuple(fault for fault in self.faults if fault.severity == "error")

    def _message(self) -> str:
        name = f"the pipeline {self.pipeline!r}" if self.pipeline else "the pipeline"
        count = len(self.errors)
        lines = [f"{name} has {count} {'fault' if count == 1 else 'faults'}"]
        lines += [f"  {fault}" for fault in self.faults]
        return "\n".join(lines)


class ReferenceRefusedError(CodecAgentsError, ImportError):
    """A reference names something that may not be imported, or that does not exist.

    Attributes:
        reference: the reference as it was written.
        reason: why it was refused.
        remedy: what to do.
    """

    def __init__(self, reference: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reference!r}: {reason}; {remedy}")
        self.reference = reference
        self.reason = reason
        self.remedy = remedy


class SecretMissingError(CodecAgentsError, LookupError):
    """A `${NAME}` reference names an environment variable that is not set.

    Attributes:
        variable: the name of the environment variable.
    """

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"the environment variable {variable!r} is not set; set it, or give ${{{variable}:-default}}"
        )
        self.variable = variable


class StoreError(CodecAgentsError):
    """A SQLite file, of conversations or the index of runs, cannot be opened, read or written."""


class UnfitStoreError(StoreError):
    """The file is damaged, or of another version or program."""


class DialectError(CodecAgentsError, ValueError):
    """A map lacks markers that a dialect needs, or no dialect fits it.

    Attributes:
        missing: the markers that the map lacks.
    """

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class PromptError(CodecAgentsError, ValueError):
    """A prompt cannot be assembled."""


class ForgedTokenError(PromptError):
    """Content holds an id that is a control token of the vocabulary; only a template may place those.

    Attributes:
        slot: the slot that the content was meant for.
        token_id: the control id.
        token: its name in the vocabulary.
    """

    def __init__(self, slot: str, token_id: int, token: str) -> None:
        super().__init__(
            f"the content for slot {slot!r} holds the control id {token_id} ({token}); "
            "content may hold ordinary ids only, so drop it or encode its text with `encode_ordinary`"
        )
        self.slot = slot
        self.token_id = token_id
        self.token = token


class ToolDefinitionError(CodecAgentsError, TypeError):
    """A callable cannot be offered to a model as a tool."""


# While a run goes


class RunError(CodecAgentsError):
    """A run failed."""


class InputError(RunError, ValueError):
    """The inputs of a run do not match those that the pipeline declares."""


class NodeFailedError(RunError):
    """A node ended by an error.

    Attributes:
        node: the node.
        cause: the error itself.
        engine: the name of its engine, if the engine failed.
        delivered: how many ids had left the node before; they stay readable as a valid prefix.
    """

    def __init__(
        self, node: str, cause: BaseException, *, engine: str | None = None, delivered: int = 0
    ) -> None:
        self.node = node
        self.cause = cause
        # Only an `EngineError` has it; here the cause is any exception, that of a tool too.
        self.engine = engine if engine is not None else getattr(cause, "engine", None)
        self.delivered = delivered
        what = str(cause) if isinstance(cause, CodecAgentsError) else f"{type(cause).__name__}: {cause}"
        super().__init__(f"node {node!r} failed after {delivered} ids: {what}")

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again, (type(self), self.args), {**self.__dict__, "cause": _carried(self.cause)}

    def __copy__(self) -> Self:
        copied = made_again(type(self), self.args)
        copied.__dict__.update(self.__dict__)
        return copied


def _carried(error: BaseException) -> BaseException:
    """Return an error as another process can read it: itself, or its class and text where that fails.

    Reading is tried as well: an error whose constructor takes more than its message breaks a pool of
    processes where it is read.
    """
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled here
    except Exception:  # classes of other libraries and of users, whose methods may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class LimitExceededError(RunError):
    """A node reached a limit of its policy.

    Attributes:
        node: the node.
        limit: the limit's name, as in the policy: `turns`, `max_ids`, `tool_calls`, `wall`.
        allowed: its value.
        delivered: how many ids had left the node before.
    """

    def __init__(self, node: str, limit: str, allowed: float, *, delivered: int = 0) -> None:
        super().__init__(
            f"node {node!r} reached its limit of {allowed:g} {_LIMITS.get(limit, limit)}; "
            f"raise `policy.limits.{limit}` if that is meant"
        )
        self.node = node
        self.limit = limit
        self.allowed = allowed
        self.delivered = delivered


_LIMITS = {
    "turns": "turns",
    "max_ids": "ids",
    "tool_calls": "tool calls",
    "wall": "seconds",
}


class AnswerCutError(RunError):
    """The answer of a node was cut at `max_tokens` or by the engine's context; `on_length` refuses that.

    Attributes:
        node: the node.
        delivered: how many ids had left the node before; they stay readable as a valid prefix.
    """

    def __init__(self, node: str, *, delivered: int = 0) -> None:
        super().__init__(
            f"the answer of node {node!r} was cut after {delivered} ids, at `sampling.max_tokens` or where "
            "the engine's context is full; raise `sampling.max_tokens`, shorten the prompt, or set "
            "`policy.on_length` to `continue` (for an engine that continues answers) or `accept`"
        )
        self.node = node
        self.delivered = delivered


class ContextFullError(RunError):
    """The prompt of a node leaves no room for an answer in the context of its engine.

    Attributes:
        node: the node.
        prompt_ids: the length of the prompt, in ids.
        context: the most ids that a prompt and its answer may have together.
        delivered: how many ids had left the node before; they stay readable as a valid prefix.
    """

    def __init__(self, node: str, prompt_ids: int, context: int, *, delivered: int = 0) -> None:
        super().__init__(
            f"the prompt of node {node!r} has {prompt_ids} ids, which leaves no room for an answer in its "
            f"engine's context of {context}; shorten it, or set `policy.on_overflow` to "
            "`drop_oldest_results` or to a function, which drop earlier results or messages"
        )
        self.node = node
        self.prompt_ids = prompt_ids
        self.context = context
        self.delivered = delivered


class RepeatedFailureError(RunError):
    """A model repeats a tool call that fails in the same way each time.

    Attributes:
        node: the node.
        tool: the tool.
        times: how often the same call failed.
        told: the last error text that the model received.
    """

    def __init__(self, node: str, tool: str, times: int, told: str) -> None:
        super().__init__(
            f"node {node!r} called {tool!r} {times} times in the same way, and it failed: {told}; "
            "correct the tool, or what its docstring tells the model"
        )
        self.node = node
        self.tool = tool
        self.times = times
        self.told = told


class WaitingCall(Protocol):
    """A tool call that waits for a decision; `codec_agents.runtime.pause.PendingCall` implements it."""

    @property
    def node(self) -> str:
        """The node whose model called."""
        ...

    @property
    def name(self) -> str:
        """The tool."""
        ...

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the call."""
        ...


class SuspendedRun(Protocol):
    """A run that waits for decisions on tool calls; `codec_agents.runtime.pause.Pause` implements it."""

    @property
    def pending(self) -> Sequence[WaitingCall]:
        """The calls that wait, in order."""
        ...

    def to_json(self) -> str:
        """Return the run as JSON."""
        ...


PauseT = TypeVar("PauseT", bound=SuspendedRun)
"""The suspended run inside an error. A type variable, because this module cannot import the runtime."""


class ApprovalRequiredError(RunError, Generic[PauseT]):
    """A run ended because a model called tools that need approval.

    Attributes:
        pending: the calls that wait, in order.
        pause: the suspended run; keep `pause.to_json()`, and continue it by `Pipeline.resume`.
    """

    def __init__(self, pause: PauseT) -> None:
        names = ", ".join(repr(call.name) for call in pause.pending)
        super().__init__(
            f"the run waits for approval of {names}; keep `pause.to_json()` and go on with "
            "`pipeline.resume(pause, decisions)`, or give the run an `approve` to ask"
        )
        self.pending = pause.pending
        self.pause = pause


class PauseError(RunError, ValueError):
    """A run cannot continue from this pause, or not with these decisions."""


class MessageTooLongError(CodecAgentsError, ValueError):
    """A message is longer than the protocol's reader takes.

    Attributes:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"a line on standard input has more than {limit} bytes, which no message has; end each message "
            "with a line end"
        )
        self.limit = limit


class ToolServerError(RunError):
    """A declared MCP server cannot be used, or no longer offers the tools that it offered at the build.

    Attributes:
        server: its name in the declaration.
    """

    def __init__(self, server: str, message: str) -> None:
        super().__init__(f"MCP server {server!r}: {message}")
        self.server = server


class OutputError(RunError):
    """The answer of a node does not have its declared form, and its retries are used up.

    Attributes:
        node: the node.
        reason: the fault, as the model would have been told.
        text: the answer.
    """

    def __init__(self, node: str, reason: str, text: str, *, enforced: bool) -> None:
        # What an engine enforces lacks its form only where it was cut.
        remedy = (
            "raise `sampling.max_tokens` if it was cut"
            if enforced
            else "use an engine that enforces the form, or raise `output.retries`"
        )
        super().__init__(
            f"the answer of node {node!r} does not have its form: {reason} It is {text!r:.200}; {remedy}"
        )
        self.node = node
        self.reason = reason
        self.text = text


class RouteError(RunError):
    """A router's model answered with none of the labels, and the router has no default.

    Attributes:
        node: the router.
        labels: what it may answer.
    """

    def __init__(self, node: str, labels: Sequence[str]) -> None:
        known = ", ".join(map(repr, labels))
        super().__init__(f"router {node!r}: the answer is none of {known}; give the router a `default`")
        self.node = node
        self.labels = tuple(labels)


class RunCancelledError(RunError):
    """The run was cancelled before it had a result; `run.partial_result()` has the delivered part."""


# Engines


class EngineError(RunError):
    """An inference server failed.

    Attributes:
        engine: the engine's name in the pipeline.
        delivered: ids of this stream that were handed on before.
        transient: whether sending the same request again can help.
    """

    transient: bool = False
    elsewhere: bool = False
    """Set by a pool of replicas: another one can take the request at once."""

    def __init__(self, engine: str, message: str, *, delivered: int = 0) -> None:
        after = f" (after {delivered} ids)" if delivered else ""
        super().__init__(f"engine {engine!r}: {message}{after}")
        self.engine = engine
        self.delivered = delivered


class EngineUnavailableError(EngineError):
    """No connection to the engine could be made."""

    transient = True

    def __init__(self, engine: str, message: str, *, delivered: int = 0) -> None:
        super().__init__(
            engine, f"{message}; start the server, or correct the engine's `url`", delivered=delivered
        )


class EngineStatusError(EngineError):
    """The engine answered with a status that is not a success.

    Attributes:
        status: the HTTP status.
        body: the beginning of the answer's body, without control characters.
        asked: the method and the URL of the request, where there was one.
        retry_after: seconds the server asks to wait, where it says so.
    """

    def __init__(
        self,
        engine: str,
        status: int,
        body: str = "",
        *,
        asked: str = "",
        retry_after: float | None = None,
        delivered: int = 0,
    ) -> None:
        excerpt = "".join(char if char.isprintable() else " " for char in body[:MAX_BODY_EXCERPT]).strip()
        what = f"{asked} answered {status}".strip() + (f": {excerpt}" if excerpt else "")
        # A status without a request is a script's: it stands for no server that could be corrected.
        remedy = _STATUS_REMEDIES.get(status) if asked else None
        super().__init__(engine, f"{what}; {remedy}" if remedy else what, delivered=delivered)
        self.status = status
        self.asked = asked
        self.body = excerpt
        self.retry_after = retry_after
        self.transient = status in TRANSIENT_STATUSES


_STATUS_REMEDIES = {
    400: "correct the node's `sampling`, shorten its prompt, or declare the engine as the `kind` that it is",
    401: "give the engine an `api_key` that it accepts",
    403: "give the engine an `api_key` that it accepts, or enable the call on the server",
    404: "correct the engine's `url` or its `model`; the server has no such call or model",
    405: "correct the engine's `url`, or declare it as the `kind` that it is",
    413: "shorten the prompt, or raise the server's limit",
    422: "correct the node's `sampling`, or declare the engine as the `kind` that it is",
    429: "lower the engine's `concurrency`, or raise the server's limit",
    500: "see the server's log",
    502: "start the server behind the proxy at this URL",
    503: "wait until the server has started, or lower the engine's `concurrency`",
}
"""The likely remedy for each status."""


class EngineStreamError(EngineError):
    """The stream was cut off, broke its format, or ended with a failure.

    A fault of the format is the `__cause__`.
    A stream that was cut off may be retried; one that does not parse would not parse the next time.
    """

    def __init__(self, engine: str, message: str, *, delivered: int = 0, transient: bool = True) -> None:
        super().__init__(engine, message, delivered=delivered)
        self.transient = transient


class EngineTimeoutError(EngineError):
    """The engine sent no data for longer than allowed.

    Attributes:
        phase: the phase that took too long: `connect`, `first_id`, `idle` or `whole`.
        seconds: the time allowed.
    """

    def __init__(
        self,
        engine: str,
        phase: TimeoutPhase,
        seconds: float | None = None,
        *,
        url: str = "",
        delivered: int = 0,
    ) -> None:
        found, remedy = _PHASES[phase]
        allowed = "" if seconds is None else f" within {seconds:g} seconds"
        asked = f" from {url}" if url else ""
        super().__init__(engine, f"{found}{asked}{allowed}; {remedy}", delivered=delivered)
        self.phase = phase
        self.seconds = seconds
        self.transient = phase != "whole"  # an answer that took too long as a whole would do so again


_PHASES: dict[TimeoutPhase, tuple[str, str]] = {
    "connect": (
        "no answer",
        "start the server, correct the engine's `url` (http or https?), or raise `timeouts.connect`",
    ),
    "first_id": ("no first id", "shorten the prompt, or raise the node's `timeouts.first_id`"),
    "idle": ("no further id", "see the server's log, or raise the node's `timeouts.idle`"),
    "whole": ("no end of the answer", "lower `sampling.max_tokens`, or raise the node's `timeouts.whole`"),
}
"""What was not there in each phase, and what would do."""


class MapMismatchError(EngineError):
    """The server's vocabulary is not the node's: ids would mean other tokens.

    Attributes:
        expected: the hash or id of the node's map.
        found: the hash or id that the server reports.
    """

    def __init__(self, engine: str, expected: str, found: str) -> None:
        super().__init__(
            engine,
            f"speaks the map {found}, the node declares {expected}; "
            "set the node's `map` to the files that the server loaded (the model's folder, its "
            "tokenizer.json or .gguf file)",
        )
        self.expected = expected
        self.found = found


# Many runs


class BatchError(CodecAgentsError, ValueError):
    """The inputs of a batch, or the files of its results, cannot be used; no row's failure is one."""


class DurableError(CodecAgentsError):
    """A durable run cannot be started, answered, or gone on with."""


class DurableNotFoundError(DurableError):
    """There is no durable run of this id."""


class DurableIdError(DurableError):
    """A text cannot be the id of a durable run, which names files and workflows."""


# After a run


class RecordError(CodecAgentsError, ValueError):
    """A record of a run cannot be written, read or replayed."""


class RecordBusyError(RecordError):
    """Another run, of this process or another one, is writing the record."""


class RecordLostError(RecordError, RunError):
    """The record of a run can no longer be written; the run ends, whatever the policies of its nodes.

    Attributes:
        path: the file, which is good up to its last whole line.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot write the record {path} any further: {reason}; it is good up to its last whole line, "
            "from where `recover` goes on"
        )
        self.path = path


RecordT = TypeVar("RecordT")
"""The recorded run inside an error. A type variable, because this module cannot import the records."""


class RecordDamagedError(RecordError, Generic[RecordT]):
    """A line of a record is not as it was written.

    Attributes:
        path: the file.
        line: the number of the first damaged line, from 1.
        found: what is wrong with it.
        record: the run as recorded before that line; None where the first line is damaged.
    """

    def __init__(self, path: str, line: int, found: str, record: RecordT | None) -> None:
        kept = "nothing of it can be used" if record is None else "`error.record` has the lines before it"
        super().__init__(f"{path}:{line}: the record is damaged: {found}; {kept}")
        self.path = path
        self.line = line
        self.found = found
        self.record = record


class ReplayError(RecordError, RunError):
    """A replay reached an event that its record does not have.

    Attributes:
        node: the node.
        turn: its turn, from 1; None for a node without a model.
        position: the first id of the prompt that differs, or the id at which the record ends.
    """

    def __init__(
        self, node: str, found: str, *, turn: int | None = None, position: int | None = None
    ) -> None:
        place = "" if turn is None else f", turn {turn}, position {position}"
        super().__init__(f"node {node!r}{place}: {found}")
        self.node = node
        self.turn = turn
        self.position = position
