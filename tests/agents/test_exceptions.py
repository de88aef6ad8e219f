"""The tree of errors: what each says and carries."""

import copy
import inspect
import pickle
import threading

import httpx
import jsonschema
import pytest

from codec_agents import exceptions
from codec_agents.exceptions import (
    AnswerCutError,
    CodecAgentsError,
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
    LimitExceededError,
    MapMismatchError,
    NodeFailedError,
    PipelineError,
    RepeatedFailureError,
    RunError,
)
from codec_agents.graph import Fault
from codec_core.exceptions import (
    CodecVersionRequiredBody,
    CodecVersionRequiredError,
    FrameTooLargeError,
    TruncatedStreamError,
)


def _classes():
    members = vars(exceptions).values()
    return [each for each in members if inspect.isclass(each) and issubclass(each, CodecAgentsError)]


def test_the_drawing_names_every_error_with_its_parents():
    drawing = exceptions.__doc__
    for each in _classes():
        assert f" {each.__name__} " in drawing or f" {each.__name__}\n" in drawing, each.__name__


def test_a_pipeline_error_shows_all_faults():
    faults = [Fault("nodes.a", "x", "do y", file="p.yaml", line=3), Fault("edges[0]", "z", "w", "warning")]
    error = PipelineError(faults, "desk")
    assert str(error) == (
        "the pipeline 'desk' has 1 fault\n  p.yaml:3: nodes.a: x; do y\n  warning: edges[0]: z; w"
    )
    assert error.errors == (faults[0],)
    assert isinstance(error, ValueError)


def test_a_failed_node_names_engine_and_what_was_delivered():
    cause = EngineStreamError("A", "the body ended inside a frame", delivered=12)
    error = NodeFailedError("planner", cause, delivered=10)
    assert (error.node, error.engine, error.delivered, error.cause) == ("planner", "A", 10, cause)
    assert "planner" in str(error)
    assert "'A'" in str(error)
    assert "10 ids" in str(error)


def test_a_cut_answer_names_the_fields_that_decide():
    error = AnswerCutError("planner", delivered=12)
    assert (error.node, error.delivered) == ("planner", 12)
    assert "`sampling.max_tokens`" in str(error)
    assert "`policy.on_length`" in str(error)


def test_a_failure_that_is_none_of_ours_says_its_type():
    assert "KeyError: 'x'" in str(NodeFailedError("planner", KeyError("x")))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (EngineUnavailableError("A", "refused"), True),
        (EngineStatusError("A", 503), True),
        (EngineStatusError("A", 429), True),
        (EngineStatusError("A", 400), False),
        (EngineStatusError("A", 401), False),
        (EngineStreamError("A", "cut off"), True),
        (EngineStreamError("A", "not msgpack", transient=False), False),
        (EngineTimeoutError("A", "idle", 3), True),
        (EngineTimeoutError("A", "whole", 3), False),
        (MapMismatchError("A", "a", "b"), False),
    ],
)
def test_what_can_be_tried_again(error, transient):
    assert error.transient is transient
    assert isinstance(error, RunError)
    assert error.engine == "A"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            EngineTimeoutError("A", "connect", 5, url="https://h"),
            "from https://h within 5 seconds; start",
        ),
        (
            EngineTimeoutError("A", "first_id", 5),
            "no first id within 5 seconds; shorten the prompt",
        ),
        (EngineTimeoutError("A", "idle"), "see the server's log, or raise the node's `timeouts.idle`"),
        (EngineTimeoutError("A", "whole", 5), "lower `sampling.max_tokens`, or raise"),
        (EngineStatusError("A", 400, asked="POST /tokenize"), "declare the engine as the `kind` that it is"),
        (MapMismatchError("A", "a", "b"), "set the node's `map` to the files that the server loaded"),
        (RepeatedFailureError("m", "t", 3, "no such file"), "correct the tool"),
    ],
)
def test_what_would_do_is_said(error, remedy):
    assert remedy in str(error)


def test_a_body_is_shown_short_and_without_control_characters():
    error = EngineStatusError("A", 500, "\x1b[31mboom\n" + "x" * 10_000, retry_after=2)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600
    assert "boom" in error.body
    assert error.retry_after == 2


def test_limits_and_timeouts_say_what_was_allowed():
    assert "10 turns" in str(LimitExceededError("planner", "turns", 10))
    assert "32768 ids" in str(LimitExceededError("planner", "max_ids", 32768))
    assert "0.5 seconds" in str(LimitExceededError("planner", "wall", 0.5))


@pytest.mark.parametrize("carried", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
@pytest.mark.parametrize(
    "error",
    [
        PipelineError([Fault("nodes.a", "x", "do y")], "desk"),
        EngineStatusError("A", 503, "busy", asked="POST http://a", retry_after=2),
        EngineTimeoutError("A", "idle", 3, delivered=4),
        LimitExceededError("planner", "turns", 10, delivered=2),
        MapMismatchError("A", "sha256:1", "sha256:2"),
        TruncatedStreamError("the body ended", 7),
        FrameTooLargeError("too large", 7, 8, "ids"),
        CodecVersionRequiredError(CodecVersionRequiredBody("old", "0.4", ("zstd",), "0.3")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_pool_of_processes_carries_errors(error, carried):
    again = carried(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_pool_of_processes_carries_the_cause_of_a_failed_node():
    error = NodeFailedError("planner", EngineStatusError("A", 500, "boom"), delivered=10)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.engine, again.delivered, again.cause.status) == ("A", 10, 500)


class TakesTwoError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class LockedError(Exception):
    def __init__(self):
        super().__init__("is locked")
        self.lock = threading.Lock()


def refused():
    try:
        jsonschema.validate(1, {"type": "string"})
    except jsonschema.ValidationError as error:
        return error


def gone():
    request = httpx.Request("GET", "http://a")
    return httpx.HTTPStatusError("404", request=request, response=httpx.Response(404, request=request))


@pytest.mark.parametrize(
    "cause", [TakesTwoError(1, 2), LockedError(), refused(), gone()], ids=lambda each: type(each).__name__
)
def test_a_cause_that_cannot_be_carried_is_carried_as_its_class_and_text(cause):
    """Reading it broke the pool, and every other run that the pool held."""
    inner = NodeFailedError("planner", cause, delivered=3)
    error = NodeFailedError("box", inner)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), str(again.cause), again.cause.delivered) == (str(error), str(inner), 3)
    carried = again.cause.cause
    assert (type(carried), str(carried)) == (RuntimeError, f"{type(cause).__name__}: {cause}")
    assert copy.copy(inner).cause is cause
