"""What a run does when it is left, when tools fail, and when engines fail."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Self

import anyio
import pytest
import sniffio
import trio

from codec_agents import Chat, Pipeline, tool
from codec_agents.events import NodeFailed, SinkText, ToolFinished
from codec_agents.exceptions import (
    EngineStatusError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
    NodeFailedError,
    RepeatedFailureError,
)
from codec_agents.runtime.outputs import READ_AHEAD
from codec_agents.testing import (
    Call,
    Cut,
    EmbeddedEngine,
    PromptView,
    Raw,
    Refuse,
    Say,
    ScriptedEngine,
    ScriptedModel,
    Stop,
    Wait,
)
from tests.timing import happens

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


NO_RETRY = {"retry": {"attempts": 1}}
QUICK_RETRY = {"retry": {"attempts": 3, "initial": 0.0, "max": 0.0}}


def one_model(engine: Any, **fields: Any) -> Pipeline:
    """Declare a question, one model and a reader."""
    p = Pipeline("one")
    p.input("question")
    p.model("model", engine=engine, map="demo/bytes", prompt=Chat(user="{question}"), **fields)
    p.sink("reader")
    p.connect("question", "model.question")
    p.connect("model.answer", "reader")
    return p


@asynccontextmanager
async def embedded(script: Any, **settings: Any) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(ScriptedModel(script=script, **settings), name="desk")
    try:
        yield engine
    finally:
        await engine.aclose()


def tasks() -> int:
    """Return how many tasks there are."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


class TestLeaving:
    async def test_leaving_early_closes_the_connection_at_once(self) -> None:
        """Seen from the server; and afterwards no task and no socket is left."""
        tasks_before = tasks()
        async with embedded(lambda _: [Say("word word word"), Wait(60)]) as engine:
            async with one_model(engine).run({"question": "go"}) as run:
                async for event in run:
                    if isinstance(event, SinkText):
                        break
            assert run.partial_result().text["reader"].startswith("w")
            assert engine.app is not None
            exchange = engine.app.exchanges.generations[-1]
            await happens(exchange.over)
            assert exchange.closed_by_client is not None
        assert tasks() == tasks_before

    async def test_an_exception_in_the_body_stops_the_run_and_comes_out_as_it_is(self) -> None:
        async with embedded(lambda _: "word " * 400, ids_a_second=100) as engine:
            with pytest.raises(ZeroDivisionError):
                await self._fail_while_reading(one_model(engine))
            assert engine.app is not None
            (exchange,) = engine.app.exchanges.generations
            await happens(exchange.over)
            assert len(exchange.ids) < 300

    @staticmethod
    async def _fail_while_reading(p: Pipeline) -> None:
        async with p.run({"question": "go"}) as run:
            async for _ in run.text("reader"):
                raise ZeroDivisionError

    async def test_outside_cancellation_is_not_swallowed(self) -> None:
        async with embedded(lambda _: "word " * 400, ids_a_second=100) as engine:
            with anyio.move_on_after(0.3) as scope:
                await one_model(engine).invoke({"question": "go"})
            assert scope.cancelled_caught

    async def test_a_sink_that_stops_reading_stalls_the_server(self) -> None:
        """Without back-pressure the client would take in the endless stream, and its memory would grow."""
        async with EndlessServer() as server:
            most = {"max_tokens": ENDLESS_IDS}
            p = codec_model(server.url, sampling=most, limits={"max_ids": ENDLESS_IDS})
            async with p.opened(), p.run({"question": "go"}) as run:
                reader = run.text("reader")
                await anext(reader)
                await happens(server.stalled, within=30)
                held = len(run.partial_result().ids["reader"])
                assert held < server.ids_sent < ENDLESS_IDS
                assert held <= (READ_AHEAD + 1) * IDS_A_FRAME, "what waits for the reader has a bound"


class TestTools:
    async def attempts(self, calls: list[Any], tools: list[Any], **fields: Any) -> tuple[list[Any], str]:
        """Let the model make calls; return the attempts, and what the model then says about the results."""

        def script(prompt: PromptView) -> Iterator[Any]:
            if prompt.turn == 1:
                yield from calls
            else:
                yield Say(" | ".join(prompt.results))

        async with (
            embedded(script) as engine,
            one_model(engine, tools=tools, **fields).run({"question": "go"}) as run,
        ):
            attempts = [event.attempt async for event in run if isinstance(event, ToolFinished)]
            return attempts, run.result.text["reader"]

    async def test_a_tool_that_raises(self) -> None:
        def broken(city: str) -> str:
            """Fail."""
            raise LookupError(f"no such city: {city}")

        (attempt,), told = await self.attempts([Call("broken", city="Atlantis")], [broken])
        assert attempt.status == "tool_error"
        assert "no such city: Atlantis" in told

    async def test_a_tool_that_hangs_past_its_timeout(self) -> None:
        @tool(timeout=0.05)
        async def slow() -> str:
            """Never answer."""
            await anyio.sleep_forever()
            return ""

        (attempt,), told = await self.attempts([Call("slow")], [slow])
        assert attempt.status == "timeout"
        assert "0.05" in told

    async def test_bad_json_and_unknown_tools_and_wrong_arguments(self) -> None:
        def add(a: int, b: int) -> int:
            """Add."""
            return a + b

        calls = [
            Raw('<tool_call>\n{"name": "add", "arguments": {"a": 1,\n</tool_call>'),
            Call("subtract", a=1, b=2),
            Call("add", a="one", b=2),
            Call("add", a=1, b=2),
        ]
        attempts, told = await self.attempts(calls, [add])
        by_status = [attempt.status for attempt in sorted(attempts, key=lambda each: each.call.start)]
        assert by_status == ["invalid_json", "unknown_tool", "bad_arguments", "ok"]
        results = told.split(" | ")
        assert "could not be read" in results[0]
        assert "the tools are: add" in results[1]
        assert "add" in results[2]
        assert results[3] == "3"

    async def test_a_call_cut_off_by_the_limit_is_never_run(self) -> None:
        ran: list[str] = []

        def note(text: str) -> str:
            """Note."""
            ran.append(text)
            return "noted"

        def script(prompt: PromptView) -> Iterator[Any]:
            if prompt.turn == 1:
                yield Raw('<tool_call>\n{"name": "note", "arguments": {"text": "a"}}')
                yield Stop("length")
            else:
                yield Say(prompt.results[0])

        async with embedded(script) as engine:
            result = await one_model(engine, tools=[note]).invoke({"question": "go"})
        assert ran == []
        assert "cut off" in result.text["reader"]

    async def test_results_come_in_the_order_of_the_calls(self) -> None:
        first_may_end = anyio.Event()

        async def first() -> str:
            """Wait for the second."""
            await first_may_end.wait()
            return "first"

        async def second() -> str:
            """End at once."""
            first_may_end.set()
            return "second"

        _, told = await self.attempts([Call("first"), Call("second")], [first, second])
        assert told == "first | second"

    async def test_the_same_failing_call_again_and_again_ends_with_a_typed_error(self) -> None:
        def broken() -> str:
            """Fail."""
            raise ValueError("always")

        async with embedded(lambda _: Call("broken")) as engine:
            with pytest.raises(RepeatedFailureError, match="'broken' 3 times"):
                await one_model(engine, tools=[broken]).invoke({"question": "go"})

    async def test_each_prompt_begins_with_exactly_the_turn_before(self) -> None:
        def look(number: int) -> int:
            """Look."""
            return number * 2

        def script(prompt: PromptView) -> Any:
            return Call("look", number=prompt.turn) if prompt.turn < 4 else "done"

        async with embedded(script) as engine:
            await one_model(engine, tools=[look]).invoke({"question": "go"})
            assert engine.app is not None
            exchanges = engine.app.exchanges.generations
        assert len(exchanges) == 4
        for before, after in pairwise(exchanges):
            said = (*before.prompt_ids, *before.ids)
            assert after.prompt_ids[: len(said)] == said


IDS_A_FRAME = 4096
ENDLESS_IDS = 32_000_000
"""32 MB of frames: more than all buffers between two processes hold."""


class Listener:
    """Answers each connection in a thread, so that it does not matter what the test itself runs on."""

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # what wakes the thread that accepts
        self._socket.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            self.answer(connection)

    def answer(self, connection: socket.socket) -> None:
        """Answer a request whose head is read."""
        raise NotImplementedError


class EndlessServer(Listener):
    """A server that sends frames as fast as they are taken, and notes when they are not."""

    def __init__(self) -> None:
        self.stalled = threading.Event()
        self.ids_sent = 0

    def answer(self, connection: socket.socket) -> None:
        """Send until nothing is taken for half a second."""
        connection.settimeout(0.5)
        connection.sendall(HEAD)
        frame = b"\x82\xa3ids\xdc\x10\x00" + b"\x41" * IDS_A_FRAME + b"\xa4done\xc2"
        try:
            while self.ids_sent < ENDLESS_IDS:
                connection.sendall(frame)
                self.ids_sent += IDS_A_FRAME
        except TimeoutError:
            self.stalled.set()


class RawServer(Listener):
    """A server that answers every request with the same bytes, then closes or hangs."""

    def __init__(self, said: bytes, *, hang: bool = False) -> None:
        self._said = said
        self._hang = hang

    def answer(self, connection: socket.socket) -> None:
        """Say it."""
        connection.sendall(self._said)
        while self._hang and connection.recv(65536):
            pass


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-msgpack\r\nconnection: close\r\n\r\n"
FRAME = b"\x82\xa3ids\x93\x41\x42\x43\xa4done\xc2"


def codec_model(url: str, *, sampling: Any = None, **policy: Any) -> Pipeline:
    sampling = {"max_tokens": 1000} if sampling is None else sampling
    p = one_model("desk", policy={**NO_RETRY, **policy}, sampling=sampling)
    p.engine("desk", kind="codec", url=url)
    return p


class TestEngines:
    async def failure(self, p: Pipeline) -> NodeFailedError:
        async with p.opened():
            with anyio.fail_after(10), pytest.raises(NodeFailedError) as caught:
                await p.invoke({"question": "go"})
        assert caught.value.node == "model"
        assert caught.value.engine == "desk"
        return caught.value

    async def test_down(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            error = await self.failure(codec_model(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        assert isinstance(error.cause, EngineUnavailableError)
        assert error.delivered == 0

    async def test_answering_500(self) -> None:
        async with embedded(lambda _: Refuse(500, "out of memory")) as engine:
            error = await self.failure(one_model(engine, policy=NO_RETRY))
        assert isinstance(error.cause, EngineStatusError)
        assert error.cause.status == 500
        assert "out of memory" in str(error)

    async def test_cut_off_mid_stream(self) -> None:
        async with embedded(lambda _: [Say("some words"), Cut()]) as engine:
            error = await self.failure(one_model(engine, policy=NO_RETRY))
        assert isinstance(error.cause, EngineStreamError)
        assert error.delivered > 0

    async def test_a_body_that_ends_without_done(self) -> None:
        async with RawServer(HEAD + FRAME) as server:
            error = await self.failure(codec_model(server.url))
        assert isinstance(error.cause, EngineStreamError)
        assert error.delivered == 3

    async def test_a_frame_that_does_not_parse(self) -> None:
        async with RawServer(HEAD + FRAME + b"\xc1\xc1") as server:
            error = await self.failure(codec_model(server.url))
        assert isinstance(error.cause, EngineStreamError)
        assert not error.cause.transient
        assert error.delivered == 3

    @pytest.mark.parametrize(
        ("answer", "phase"), [(b"", "first_id"), (HEAD, "first_id"), (HEAD + FRAME, "idle")]
    )
    async def test_silence(self, answer: bytes, phase: str) -> None:
        async with RawServer(answer, hang=True) as server:
            error = await self.failure(codec_model(server.url, timeouts={phase: 0.2}))
        assert isinstance(error.cause, EngineTimeoutError)
        assert error.cause.phase == phase

    @staticmethod
    async def _failures_told(run: Any) -> list[NodeFailed]:
        told: list[NodeFailed] = []
        with contextlib.suppress(NodeFailedError):
            async for event in run:
                told += [event] if isinstance(event, NodeFailed) else []
            raise AssertionError("the events end with the error")
        return told

    async def test_what_had_been_delivered_stays_readable(self) -> None:
        async with embedded(lambda _: [Say("some words that came"), Cut()]) as engine:
            async with one_model(engine, policy=NO_RETRY).run({"question": "go"}) as run:
                failed = await self._failures_told(run)
                with pytest.raises(NodeFailedError):
                    await run.wait()
            assert len(failed) == 1
            assert run.partial_result().text["reader"] == "some words that came"


class TestRetries:
    async def test_a_retry_after_output_continues_without_a_seam(self) -> None:
        """The second request holds the prompt and everything received; the stream goes on after that."""
        whole = "one two three four five six seven eight nine ten"
        seen: list[str] = []

        def script(prompt: PromptView) -> Iterator[Any]:
            said = prompt.text.rpartition("<|im_start|>assistant\n")[2]
            seen.append(said)
            rest = whole[len(said) :]
            if len(seen) < 3:
                yield Say(rest[:12])
                yield Cut()
            else:
                yield Say(rest)

        async with embedded(script) as engine:
            result = await one_model(engine, policy=QUICK_RETRY).invoke({"question": "go"})
        assert result.text["reader"] == whole
        assert seen == ["", whole[:12], whole[:24]]
        assert result.usage["model"].retries == 2

    async def test_what_is_not_transient_is_not_tried_again(self) -> None:
        calls: list[int] = []

        def script(_: PromptView) -> Any:
            calls.append(1)
            return Refuse(400, "no")

        async with embedded(script) as engine:
            with pytest.raises(NodeFailedError):
                await one_model(engine, policy=QUICK_RETRY).invoke({"question": "go"})
        assert calls == [1]


async def test_a_pause_in_the_stream_does_not_end_it() -> None:
    async with embedded(lambda _: [Say("a"), Wait(0.05), Say("b")]) as engine:
        result = await one_model(engine).invoke({"question": "go"})
    assert result.text["reader"] == "ab"


async def awaits_what_was_cancelled(value: str) -> str:
    """Do what code does that awaits a task which another part of its program has cancelled."""
    raise asyncio.CancelledError


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("on_failure", ["fail", "skip"])
async def test_a_cancellation_that_a_function_raises_is_the_failure_of_its_node(
    beside: bool, on_failure: Any
) -> None:
    """Nothing has cancelled the run, which would else end as if the node had nothing to say."""
    p = Pipeline("strays").input("q")
    if beside:  # in the caller's task, and the function in another one
        p.function("other", lambda value: value, wants="text").connect("q", "other")
        p.sink("told").connect("other", "told")
    policy = {"on_failure": on_failure}
    p.function("f", awaits_what_was_cancelled, wants="text", policy=policy).connect("q", "f")
    p.function("behind", lambda value: value, wants="text").connect("f", "behind")
    p.sink("out").connect("behind", "out")
    if on_failure == "skip":
        result = await p.invoke({"q": "go"})
        assert (result.outcomes["f"], result.outcomes["behind"]) == ("failed", "skipped")
        return
    with pytest.raises(NodeFailedError, match=r"node 'f' failed .* from within, and nothing has cancelled"):
        await p.invoke({"q": "go"})
    async with p.run({"q": "go"}) as run:
        with pytest.raises(NodeFailedError, match="node 'f' failed"):
            await run.wait()


async def test_a_cancellation_that_an_engine_raises_is_the_failure_of_its_node() -> None:
    class Straying(ScriptedEngine):
        @asynccontextmanager
        async def stream(self, request: Any) -> AsyncIterator[Any]:  # type: ignore[override]
            raise asyncio.CancelledError
            yield

    with pytest.raises(NodeFailedError, match=r"node 'model' failed .* from within"):
        await one_model(Straying(lambda _: "said")).invoke({"question": "go"})
