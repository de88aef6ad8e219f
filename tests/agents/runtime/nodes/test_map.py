"""A map node: its stream is cut as it comes, its items run side by side, and nothing is read far ahead."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_agents import Chat, Pipeline, tool
from codec_agents.events import IdsReceived, NodeStarted
from codec_agents.exceptions import ApprovalRequiredError, NodeFailedError
from codec_agents.runtime.nodes.map import RESULTS_AHEAD
from codec_agents.runtime.nodes.splitting import IdSplitter, TextSplitter
from codec_agents.testing import Call, Cut, PromptView, Say, ScriptedEngine, ScriptedModel, Wait
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of

BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
MAPS = ["demo/bytes", "demo/words"]


# --- the splitters ---


def split_whole(ids: list[int], vocabulary: Vocabulary, separator: bytes) -> list[list[int]]:
    """Cut a whole stream, written to be read: an id belongs to an item if all its bytes do."""
    encode = pick_tokenizer(vocabulary).encode_ordinary
    owners = [(n, byte) for n, each in enumerate(ids) for byte in vocabulary.token_bytes(each)]
    items, at = [], 0
    for part in b"".join(vocabulary.token_bytes(each) for each in ids).split(separator):
        mine = owners[at : at + len(part)]
        at += len(part) + len(separator)
        item: list[int] = []
        for number in dict.fromkeys(n for n, _ in mine):
            kept = bytes(byte for n, byte in mine if n == number)
            whole = kept == vocabulary.token_bytes(ids[number])
            item += [ids[number]] if whole else encode(kept.decode("utf-8", "replace"))
        if part.strip():
            items.append(item)
    return items


def cut(values: Any, cuts: list[int]) -> list[Any]:
    """Cut a sequence into batches of the given sizes, again and again."""
    batches, at = [], 0
    while at < len(values):
        size = cuts[len(batches) % len(cuts)]
        batches.append(values[at : at + size])
        at += size
    return batches


TEXTS = st.text(alphabet="ab \n;é—", max_size=60)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)
SEPARATORS = st.sampled_from(["\n", ";", "ab", "aa", "\n\n", "—", " \n;"])


@given(text=TEXTS, separator=SEPARATORS, cuts=CUTS, map_id=st.sampled_from(MAPS))
def test_however_ids_are_cut_the_items_are_those_of_the_whole(
    text: str, separator: str, cuts: list[int], map_id: str
) -> None:
    vocabulary = vocabulary_of(bundled_map(map_id))
    ids = pick_tokenizer(vocabulary).encode_ordinary(text)
    splitter = IdSplitter(separator.encode(), vocabulary)
    items = [*chain(*map(splitter.feed, cut(ids, cuts))), *splitter.flush()]
    assert items == split_whole(ids, vocabulary, separator.encode())


@given(text=TEXTS, separator=SEPARATORS, cuts=CUTS)
def test_however_text_is_cut_the_items_are_those_of_the_whole(
    text: str, separator: str, cuts: list[int]
) -> None:
    splitter = TextSplitter(separator)
    items = [*chain(*map(splitter.feed, cut(text, cuts))), *splitter.flush()]
    assert items == [item for item in text.split(separator) if item.strip()]


@given(text=TEXTS, separator=SEPARATORS, map_id=st.sampled_from(MAPS))
def test_an_item_is_given_with_the_id_that_completes_its_separator(
    text: str, separator: str, map_id: str
) -> None:
    vocabulary = vocabulary_of(bundled_map(map_id))
    ids = pick_tokenizer(vocabulary).encode_ordinary(text)
    splitter, given_so_far = IdSplitter(separator.encode(), vocabulary), 0
    for position, token_id in enumerate(ids):
        given_so_far += len(splitter.feed([token_id]))
        seen = b"".join(map(vocabulary.token_bytes, ids[: position + 1]))
        *complete, _ = seen.split(separator.encode())
        assert given_so_far == sum(bool(part.strip()) for part in complete)


# --- the node ---


def scripted(script: Any, seed: int = 0, **settings: Any) -> ScriptedEngine:
    said = script if callable(script) else lambda _: script
    return ScriptedEngine(ScriptedModel(script=said, **{"ids_a_frame": (1, 7), "seed": seed, **settings}))


def model(p: Pipeline, name: str, script: Any, **fields: Any) -> Pipeline:
    engine = script if isinstance(script, ScriptedEngine) else scripted(script)
    fields = {"prompt": Chat(user="{text}"), "map": "demo/bytes", "model": name, **fields}
    return p.model(name, engine=engine, **fields)


def body(script: Any, *, common: bool = False) -> Pipeline:
    """Declare what is done with an item, and with what all items have in common."""
    each = Pipeline("body").input("item").sink("said", text=False)
    if common:
        each.input("common")
        model(each, "m", script, prompt=Chat(user="{common}: {text}"))
        each.connect("common", "m.common").connect("item", "m.text")
    else:
        model(each, "m", script)
        each.connect("item", "m")
    return each.connect("m", "said")


def bracket(prompt: PromptView) -> str:
    return f"<{prompt.user.strip()}>"


def mapped(lister: Any, each: Any = bracket, run_policy: Any = None, **fields: Any) -> Pipeline:
    p = Pipeline("mapped", policy=run_policy).input("q").sink("out")
    model(p, "lister", lister)
    p.map("each", body(each), **{"separator": " ", **fields})
    return p.connect("q", "lister").connect("lister", "each").connect("each", "out")


@pytest.mark.anyio
@BACKENDS
@pytest.mark.parametrize("map_id", MAPS)
async def test_an_item_begins_before_the_stream_has_ended(map_id: str) -> None:
    """The lister does not go on until the first item is done: a map that waits for the whole would hang."""
    done = anyio.Event()

    class Gated(ScriptedEngine):
        """Let the second line out when the first item's model has spoken."""

        def stream(self, request: Any) -> Any:
            return Held(super().stream(request), done)

    lister = Gated(ScriptedModel(script=lambda _: "one\ntwo\nthree", ids_a_frame=1))
    p = mapped(lister)
    with anyio.fail_after(5):
        async with p.run({"q": "go"}) as run:
            async for event in run:
                if isinstance(event, IdsReceived) and event.node == "each[0]/m":
                    done.set()
            assert run.result.text["out"] == "<one> <two> <three>"


class Held:
    """A stream that stops behind its first line until it may go on."""

    def __init__(self, stream: Any, goes_on: anyio.Event) -> None:
        self._stream, self._goes_on = stream, goes_on

    async def __aenter__(self) -> Any:
        self._frames = await self._stream.__aenter__()
        self.stats = self._frames.stats
        self._seen = b""
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        if b"\ntw" in self._seen:
            await self._goes_on.wait()
        frame = await anext(aiter(self._frames))
        vocabulary = vocabulary_of(bundled_map("demo/bytes"))
        self._seen += b"".join(map(vocabulary.token_bytes, frame.ids))
        return frame


@pytest.mark.anyio
@BACKENDS
@pytest.mark.parametrize("order", ["input", "completion"])
async def test_cuts_and_delays_never_change_the_results(order: Any) -> None:
    for seed in range(10):
        draw = random.Random(seed)
        waits = {str(n): draw.random() * 0.01 for n in range(9)}

        def each(prompt: PromptView, waits: dict[str, float] = waits) -> Any:
            return [Wait(waits[prompt.user.strip()]), Say(f"<{prompt.user.strip()}>")]

        lister = scripted(lambda _: "\n".join(map(str, range(9))), seed, ids_a_second=2000)
        result = await mapped(lister, each, parallel=3, order=order).invoke({"q": "go"})
        said = result.text["out"].split()
        assert sorted(said) == [f"<{n}>" for n in range(9)]
        if order == "input":
            assert said == sorted(said)


@pytest.mark.anyio
@BACKENDS
async def test_no_more_items_run_than_may_and_the_stream_waits_for_them() -> None:
    """With a body that hangs, an endless stream is read as far as the buffers reach, and no further."""
    running, most = 0, 0

    async def hang(value: list[int]) -> list[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep_forever()
        return value

    each = Pipeline("body").input("item").sink("said", text=False).function("f", hang, map="demo/bytes")
    each.connect("item", "f").connect("f", "said")
    p = Pipeline("mapped").input("q").sink("out")
    limits = {"limits": {"max_ids": 1_000_000}}
    lister = scripted(lambda _: "line\n" * 100_000, ids_a_frame=64)
    model(p, "lister", lister, sampling={"max_tokens": 1_000_000}, policy=limits)
    p.map("each", each, parallel=3)
    p.connect("q", "lister").connect("lister", "each", buffer=256).connect("each", "out")
    async with p.run({"q": "go"}) as run:
        with anyio.fail_after(10):
            await anyio.wait_all_tasks_blocked()
        assert any(edge.blocked for edge in run.edges())
        read = next(edge.sent for edge in run.edges() if edge.source == "lister.answer")
    assert most == 3
    assert read < 2 * 256 + 64 + 3 * len("line\n")


@pytest.mark.anyio
@BACKENDS
@pytest.mark.parametrize("between", [False, True])
async def test_items_do_not_wait_for_a_place_that_their_own_stream_holds(between: bool) -> None:
    """One request at once: the items are asked when the list is there, and nothing holds it up until then."""

    def script(prompt: PromptView) -> str:
        return bracket(prompt) if prompt.model == "m" else "\n".join(map(str, range(60)))

    p = Pipeline("mapped").input("q").sink("out").engine("desk", scripted(script), concurrency=1)
    p.model("lister", engine="desk", model="lister", map="demo/bytes", prompt=Chat(user="{text}"))
    inner = Pipeline("body").input("item").sink("said", text=False)
    inner.model("m", engine="desk", model="m", map="demo/bytes", prompt=Chat(user="{text}"))
    p.map("each", inner.connect("item", "m").connect("m", "said"), parallel=2, separator=" ")
    copied = Pipeline("body").input("item").sink("said", text=False)
    copied.function("f", lambda value: value, map="demo/bytes").connect("item", "f").connect("f", "said")
    p.map("copy", copied, parallel=2, separator="\n") if between else None
    p.connect("q", "lister").connect("lister", "copy" if between else "each", buffer=16).connect(
        "each", "out"
    )
    p.connect("copy", "each", buffer=16) if between else None
    with anyio.fail_after(10):
        result = await p.invoke({"q": "go"})
    assert result.text["out"] == " ".join(f"<{n}>" for n in range(60))


@pytest.mark.anyio
@BACKENDS
async def test_a_slow_item_holds_up_a_bounded_number_of_results() -> None:
    started: set[str] = set()
    first_may_end, full = anyio.Event(), anyio.Event()

    async def wait(value: str) -> str:
        started.add(value)
        if len(started) == 2 * RESULTS_AHEAD:
            full.set()
        if value == "0":
            await first_may_end.wait()
        return value

    each = Pipeline("body").input("item").sink("said", text=False)
    each.function("f", wait, wants="text").function("g", lambda value: value, map="demo/bytes")
    each.connect("item", "f").connect("f", "g").connect("g", "said")
    p = Pipeline("mapped").input("q").sink("out").map("each", each, parallel=2, separator=" ")
    p.connect("q", "each").connect("each", "out")
    async with p.run({"q": "\n".join(map(str, range(50)))}) as run:
        with anyio.fail_after(5):
            await full.wait()
            await anyio.wait_all_tasks_blocked()
        assert len(started) == 2 * RESULTS_AHEAD
        first_may_end.set()
        result = await run.wait()
    assert result.text["out"].split() == [str(n) for n in range(50)]


@pytest.mark.anyio
@BACKENDS
async def test_other_slots_are_filled_before_the_first_item_begins() -> None:
    """All read from one node: what they have in common comes when the stream of items has long ended."""
    p = Pipeline("mapped").input("q").sink("out")
    model(p, "lister", lambda _: "one\ntwo")
    model(p, "sum", lambda prompt: [Wait(0.02), Say(f"of {len(prompt.user.split())}")])
    p.map("each", body(bracket, common=True), over="item", separator=" ")
    p.connect("q", "lister").connect("lister", "each.item", buffer=1).connect("lister", "sum", buffer=1)
    p.connect("sum", "each.common").connect("each", "out")
    result = await p.invoke({"q": "go"})
    assert result.text["out"] == "<of 2: one> <of 2: two>"


@pytest.mark.anyio
@BACKENDS
async def test_several_edges_follow_each_other_in_declared_order() -> None:
    for slow in ("a", "b"):
        p = Pipeline("mapped").input("q").sink("out")
        for name in "ab":
            model(p, name, [Wait(0.02 if name == slow else 0.0), Say(f"{name}1\n{name}2")])
        p.map("each", body(bracket), separator=" ")
        p.connect("q", "a").connect("q", "b").connect("each", "out")
        p.connect("a", "each").connect("b", "each", separator="+")
        assert (await p.invoke({"q": "go"})).text["out"] == "<a1> <a2+b1> <b2>"


@pytest.mark.anyio
@BACKENDS
async def test_what_a_failing_source_gave_is_taken_back() -> None:
    """A branch that was not taken has no items, however much of it had come."""
    ran: list[str] = []

    def each(prompt: PromptView) -> str:
        ran.append(prompt.user)
        return bracket(prompt)

    skipped = Pipeline("mapped").input("q").sink("out").sink("spare")
    policy = {"on_failure": "skip", "retry": {"attempts": 1}}
    model(skipped, "lister", [Say("one\ntwo\nthree"), Cut()], policy=policy)
    model(skipped, "sound", "well")
    skipped.map("each", body(each)).connect("q", "lister").connect("q", "sound")
    skipped.connect("lister", "each").connect("each", "out").connect("sound", "spare")
    result = await skipped.invoke({"q": "go"})
    assert result.outcomes["each"] == "skipped"
    assert (result.text, ran) == ({"out": "", "spare": "well"}, [])


@pytest.mark.anyio
@BACKENDS
async def test_a_failing_item_stops_the_others_and_the_stream() -> None:
    def each(prompt: PromptView) -> Any:
        return Cut() if prompt.user.strip() == "one" else [Wait(60)]

    lister = scripted(["one\ntwo\nthree", Wait(60)])
    p = mapped(lister, each, run_policy={"retry": {"attempts": 1}})
    with anyio.fail_after(10), pytest.raises(NodeFailedError, match=r"each\[0\]/m"):
        await p.invoke({"q": "go"})
    assert lister.open_streams == 0


@pytest.mark.anyio
@BACKENDS
@pytest.mark.parametrize("text", ["", "\n", "  \n \n"])
async def test_no_items_give_nothing(text: str) -> None:
    p = Pipeline("mapped").input("q").sink("out").map("each", body(bracket))
    result = await p.connect("q", "each").connect("each", "out").invoke({"q": text})
    assert (result.text["out"], result.outcomes["each"]) == ("", "finished")


@pytest.mark.anyio
@BACKENDS
async def test_a_callable_cuts_the_whole_stream_ids_or_text() -> None:
    def pairs(value: Any) -> Any:
        return [value[at : at + 2] for at in range(0, len(value), 2)]

    p = mapped("1-2-3", items=pairs)
    assert (await p.invoke({"q": "go"})).text["out"] == "<1-> <2-> <3>"
    words = Pipeline("body").input("item").sink("said", text=False)
    words.function("up", lambda value: value.upper(), wants="text")
    words.function("ids", lambda value: value, map="demo/bytes")
    words.connect("item", "up").connect("up", "ids").connect("ids", "said")
    p = Pipeline("mapped").input("q").sink("out").map("each", words, items=pairs, separator=" ")
    p.connect("q", "each").connect("each", "out")
    assert (await p.invoke({"q": "abcde"})).text["out"] == "AB CD E"


@pytest.mark.anyio
@BACKENDS
async def test_a_run_that_may_be_put_down_begins_no_item_before_all_are_there() -> None:
    """A node waits for a decision; the map is fed by what follows from it, and is not at work until then."""

    @tool(approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    def clerk(prompt: PromptView) -> Any:
        return [Call("pay")] if prompt.turn == 1 else "late"

    p = Pipeline("paused").input("q").sink("out")
    model(p, "clerk", clerk, tools=[pay])
    model(p, "lister", "one\ntwo")
    p.map("each", body(bracket), separator=" ")
    p.connect("q", "clerk").connect("q", "lister").connect("each", "out")
    p.connect("lister", "each").connect("clerk", "each")
    with anyio.fail_after(5), pytest.raises(ApprovalRequiredError) as caught:
        await p.invoke({"q": "go"})
    result = await p.resume(caught.value.pause, [True]).execute()
    assert result.text["out"] == "<one> <two> <late>"


@pytest.mark.anyio
@BACKENDS
async def test_it_says_when_it_begins_and_what_it_did() -> None:
    async with mapped(lambda _: "one\ntwo").run({"q": "go"}) as run:
        events = [event async for event in run]
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    assert started[:2] == ["lister", "each"]
    assert next(e for e in events if getattr(e, "reason", "") == "items: 2").node == "each"
