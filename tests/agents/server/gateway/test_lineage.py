"""The turn that a request continues, and how its prompt comes about: one test for each rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from codec_agents.dialects import Message, MessageCall
from codec_agents.exceptions import PromptError
from codec_agents.server.gateway.continuation import ReasoningRules
from codec_agents.server.gateway.history import Asked, history_of
from codec_agents.server.gateway.lineage import MOST_CUT, Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.store import MemoryStore
from codec_agents.server.gateway.tree import Node, as_array
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import TOOLS, Bench, bench, small_map_of
from tests.agents.server.gateway import agents
from tests.agents.server.gateway.agents import Core
from tests.limits import calls_of

SYSTEM = Message(role="system", content="Be brief.")
THOUGHT, END = ["<think>\n", "\n</think>\n\n"], "<|im_end|>"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
CLOCK = '<tool_call>\n{"name": "clock", "arguments": {"zone": "Europe/Oslo"}}\n</tool_call>'


def user(text: str) -> Message:
    return Message(role="user", content=text)


def result(text: str, call_id: str | None = None) -> Message:
    return Message(role="tool", content=text, call_id=call_id)


class Talk:
    """A conversation of one client, in a family that marks calls and reasoning."""

    def __init__(self, family: Bench, core: Core, tenant: bytes = b"t") -> None:
        self.family, self.core, self.tenant = family, core, tenant
        self.messages: list[Message] = [SYSTEM]

    def ask(self, *more: Message, hints: Sequence[str] = (), tools: Any = TOOLS) -> Any:
        self.messages += more
        return self.core.ask(self.messages, self.tenant, frozenset(hints), tools)

    def say(self, continuation: Any, *parts: Any, finish: str = "stop", partial: bool = False) -> Node:
        node = self.core.answer(continuation, self.family.ids(list(parts)), finish, partial=partial)
        if not partial:
            self.messages.append(node.turn)
        return node

    def branch(self) -> Talk:
        other = Talk(self.family, self.core, self.tenant)
        other.messages = list(self.messages)
        return other


@pytest.fixture
def qwen(shared_map: Callable[[str], TokenizerMap]) -> Bench:
    return bench("qwen3", shared_map)


@pytest.fixture
def core(qwen: Bench) -> Core:
    return Core(qwen.bound, MemoryStore())


@pytest.fixture
def talk(qwen: Bench, core: Core) -> Talk:
    return Talk(qwen, core)


def calls_back(node: Node, *ids: str) -> Message:
    """Return a turn as a client sends it back, with ids of its own and without reasoning."""
    calls = [replace(call, id=each) for call, each in zip(node.turn.calls, ids, strict=True)]
    return replace(node.turn, calls=tuple(calls), reasoning=None)


def test_a_tool_cycle_is_extended_exactly_whatever_ids_and_order_the_client_gives(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), *THOUGHT[:1], "hm", THOUGHT[1], CALL, "\n", CLOCK, END)
    talk.messages[-1] = calls_back(first, "b", "a")
    asked = talk.ask(result("12:00", "a"), result("sun", "b"))
    assert str(asked.verdict) == f"extended {first.length}"
    assert asked.prompt[: first.length] == first.ids()
    behind = talk.family.spelled(list(asked.prompt[first.length :]))
    assert behind.index("sun") < behind.index("12:00"), "results are in the order of their calls"


def test_swapped_results_are_other_content(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), CALL, "\n", CLOCK, END)
    talk.messages[-1] = calls_back(first, "a", "b")
    talk.say(talk.ask(result("sun", "a"), result("12:00", "b")), "Yes.", END)
    other = talk.branch()
    other.messages[3:5] = [result("sun", "b"), result("12:00", "a")]
    assert str(other.ask(user("Sure?")).verdict) == "forked at turn 4", "the result of the first call"


def test_a_result_of_no_call_is_refused(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), CALL, END)
    talk.messages[-1] = calls_back(first, "a")
    with pytest.raises(PromptError, match="message 3 is the result of 'b'; no call before it has this id"):
        talk.ask(result("sun", "b"))


def test_a_user_who_speaks_again_leaves_reasoning_out_as_the_family_does(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi")), *THOUGHT[:1], "hm", THOUGHT[1], CALL, END)
    second = talk.say(talk.ask(result("sun")), THOUGHT[0], "so", THOUGHT[1], "Sunny.", END)
    asked = talk.ask(user("And now?"))
    assert str(asked.verdict) == "rendered at turn 2 (reasoning)"
    assert talk.family.spelled(list(asked.prompt)).count("<think>") == 0
    third = talk.say(asked, "Rain.", END)
    again = talk.ask(user("Thanks"))
    assert str(again.verdict) == f"extended {third.length}", "nothing is left to leave out"
    assert second.length > asked.kept


def test_all_reasoning_may_be_kept(talk: Talk) -> None:
    talk.core.rules = ReasoningRules(kept="all")
    first = talk.say(talk.ask(user("Hi")), THOUGHT[0], "hm", THOUGHT[1], "Yes.", END)
    assert str(talk.ask(user("Why?")).verdict) == f"extended {first.length}"


def test_none_may_be_kept_even_within_a_tool_cycle(talk: Talk) -> None:
    talk.core.rules = ReasoningRules(kept="template")
    talk.say(talk.ask(user("Hi")), THOUGHT[0], "hm", THOUGHT[1], CALL, END)
    assert str(talk.ask(result("sun")).verdict) == "rendered at turn 2 (reasoning)"


@pytest.mark.parametrize(("kept", "stays"), [("template", False), ("tool_cycle", True), ("all", True)])
def test_a_rendered_history_has_the_reasoning_that_an_extended_one_would_have(
    talk: Talk, kept: Any, stays: bool
) -> None:
    talk.core.rules = ReasoningRules(kept=kept)
    call = MessageCall("weather", {"city": "Oslo"}, "a")
    thought = Message(role="assistant", content="", reasoning="thunder", calls=(call,))
    prompt = talk.ask(user("Hi"), thought, result("sun", "a")).prompt
    assert ("thunder" in talk.family.text(prompt)) is stays


def test_a_family_whose_template_never_keeps_reasoning_does_not_keep_it_between_calls() -> None:
    r1, v3 = (Bench(name, small_map_of(name)).bound for name in ("deepseek-r1", "deepseek-v3"))
    assert not ReasoningRules().keeps_between_calls(r1)
    assert ReasoningRules(kept="tool_cycle").keeps_between_calls(r1)
    assert ReasoningRules().keeps_between_calls(v3)


def test_unsent_reasoning_is_restored_or_left_out_as_the_rules_say(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), THOUGHT[0], "hm", THOUGHT[1], CALL, END)
    talk.messages[-1] = calls_back(first, "a")
    talk.messages.append(result("sun", "a"))
    assert str(talk.ask().verdict) == f"extended {first.length}"
    talk.core.rules = ReasoningRules(unsent="follow")
    left_out = talk.ask()
    assert str(left_out.verdict) == "rendered at turn 2 (reasoning)"
    assert "hm" not in talk.family.spelled(list(left_out.prompt))
    second = talk.say(left_out, "Sunny.", END)
    assert str(talk.ask(user("Ok")).verdict) == f"extended {second.length}"


def test_altered_reasoning_is_a_fork(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi")), THOUGHT[0], "hm", THOUGHT[1], CALL, END)
    talk.messages[-1] = replace(talk.messages[-1], reasoning="other")
    assert str(talk.ask(result("sun")).verdict) == "forked at turn 2"


def test_an_edited_answer_is_never_replaced_by_the_sampled_one(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi")), "It costs 5.", END)
    talk.messages[-1] = replace(talk.messages[-1], content="It costs 7.")
    asked = talk.ask(user("Sure?"))
    assert str(asked.verdict) == "forked at turn 2"
    spelled = talk.family.spelled(list(asked.prompt))
    assert "It costs 7." in spelled
    assert "It costs 5." not in spelled


def test_what_a_client_wrote_itself_counts_exactly(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi"), Message(role="assistant", content="Mine."), user("Go on")), "Yes.", END)
    edges = talk.branch()
    edges.messages[2] = replace(edges.messages[2], content="Mine. ")
    assert talk.ask(user("Why?")).verdict.kind == "extended"
    assert str(edges.ask(user("Why?")).verdict) == "forked at turn 2"


def test_other_characters_at_the_ends_are_content(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi")), "Bye.", END)
    talk.messages.append(user("Oh"))
    for edge in ("\u00a0", "\u200b", "\ud800"):
        talk.messages[2] = replace(talk.messages[2], content="Bye." + edge)
        assert str(talk.ask().verdict) == "forked at turn 2"


def test_other_tools_other_system_texts_and_other_clients_begin_anew(talk: Talk) -> None:
    talk.say(talk.ask(user("Hi")), "Yes.", END)
    talk.messages.append(user("Why?"))
    assert talk.ask().verdict.kind == "extended"
    assert str(talk.ask(tools=TOOLS[:1]).verdict) == "new"
    stranger = talk.branch()
    stranger.tenant = b"another"
    assert str(stranger.ask().verdict) == "new"
    talk.messages[0] = replace(SYSTEM, content="Be  brief.")
    assert str(talk.ask().verdict) == "new"


def test_a_compacted_history_goes_on_behind_the_last_equal_turn(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), "Yes.", END)
    talk.say(talk.ask(user("Tell me all")), "Much.", END)
    begun = talk.branch()
    begun.messages[3:] = [user("In short: much.")]
    assert str(begun.ask().verdict) == f"extended {first.length}"
    summary = talk.branch()
    summary.messages[1:] = [user("So far: much."), *talk.messages[-1:], user("And?")]
    assert str(summary.ask().verdict) == "new"
    summary.messages[1:] = [user("So far: much.")]
    assert str(summary.ask().verdict) == "new"


def test_sub_agents_of_one_session_do_not_mix(talk: Talk) -> None:
    helper = talk.branch()
    helper.messages = [Message(role="system", content="You search.")]
    main = talk.say(talk.ask(user("Find it")), CALL, END)
    found = helper.say(helper.ask(user("Find it")), "Found.", END)
    assert main.ids()[: len(main.ids())] == talk.ask(result("Found.")).prompt[: main.length]
    assert helper.ask(user("More")).prompt[: found.length] == found.ids()


def test_parallel_branches_are_siblings(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), "Yes.", END)
    one, other = talk.branch(), talk.branch()
    left = one.say(one.ask(user("Left")), "L.", END)
    right = other.say(other.ask(user("Right")), "R.", END)
    assert left.parent is right.parent is first
    assert one.ask(user("On")).prompt[: left.length] == left.ids()
    assert other.ask(user("On")).prompt[: right.length] == right.ids()


def test_of_equal_turns_the_one_is_taken_whose_ids_are_sent_or_else_the_last(talk: Talk) -> None:
    asked = talk.ask(user("Hi"))
    nodes = [talk.core.answer(asked, talk.family.ids([*said, CALL, END])) for said in ([], [" "], [" ", " "])]
    assert len({tuple(node.sampled) for node in nodes}) == 3
    talk.messages += [nodes[0].turn, result("sun")]
    for node in nodes:
        chosen = talk.ask(hints=[talk.core.ids(node), "call_made-up", "call_" + "0" * 36])
        assert (chosen.parent, chosen.verdict.equal) == (node, 3)
    assert talk.ask().parent is nodes[-1]
    forged = talk.core.lineage.mint.new_id("call_", b"another", nodes[0].nonce)
    assert talk.ask(hints=[forged]).parent is nodes[-1], "an id of another client says nothing"


def test_a_stream_that_broke_off_is_continued_where_the_client_left_it(qwen: Bench) -> None:
    """Cut at every id: the known ids are kept up to there, and the turn's end is inserted."""
    for cut in range(1, 12):
        talk = Talk(qwen, Core(qwen.bound, MemoryStore()))
        continue_behind_a_cut(talk, cut)


def continue_behind_a_cut(talk: Talk, cut: int) -> None:
    asked = talk.ask(user("Hi"))
    whole = talk.family.ids(["It is sunny, 三 and warm in Oslo today.", END])
    node = talk.core.answer(asked, whole[:cut], "abort", partial=True)
    got = node.turn.content
    assert talk.core.lineage.store.find([node.key]) == []
    talk.messages.append(Message(role="assistant", content=got))
    again = talk.ask(user("Go on"))
    if "\ufffd" in got:
        assert str(again.verdict) == "forked at turn 2"
        return
    assert str(again.verdict) == f"extended {node.length}"
    assert again.prompt[: node.length] == node.ids()
    last = talk.say(again, "Ok.", END)
    assert talk.ask(user("And?")).prompt[: last.length] == last.ids()


def test_any_number_of_turns_in_a_row_may_have_broken_off(qwen: Bench) -> None:
    store, last, many = MemoryStore(max_bytes=2**30), None, 1_100
    left = Message(role="assistant", content="Yes")
    asked = [message for number in range(many) for message in (user(f"{number}"), left)]
    history = history_of(Asked(b"t", "m", [*asked, user("Go on")]), qwen.bound)
    for place in range(0, 2 * many, 2):
        last = Node(
            parent=last,
            tenant=b"t",
            origin=history.keys[place],
            key=b"%d" % place,
            kept=place,
            inserted=as_array([1]),
            sampled=as_array([2]),
            messages=(asked[place],),
            turn=Message(role="assistant", content="Yes, and"),
            nonce=new_nonce(),
            begin=0,
            finish_reason=None,
            partial=True,
        )
        store.add(last)
    found = Lineage(store).find(history, b"t", cut=lambda _node, _turn: 1)
    assert (found.node, found.place, found.cut) == (last, 2 * many - 1, 1)


def stored(
    parent: Node | None, messages: Sequence[Message], turn: Message, key: bytes, origin: bytes
) -> Node:
    return Node(
        parent=parent,
        tenant=b"t",
        origin=origin,
        key=key,
        kept=0 if parent is None else parent.length,
        inserted=as_array([1]),
        sampled=as_array([2]),
        messages=tuple(messages),
        turn=turn,
        nonce=new_nonce(),
        begin=0,
        finish_reason="stop",
    )


def test_a_history_with_other_reasoning_is_compared_in_linear_time(qwen: Bench) -> None:
    """Each turn has an equal key, and the first one's reasoning differs, so that none of them is the same."""

    def calls(turns: int) -> int:
        thought, other = (Message(role="assistant", content="a", reasoning=text) for text in ("r", "s"))
        said = [message for number in range(turns) for message in (user(f"{number}"), thought)]
        history = history_of(Asked(b"t", "m", [*said, user("On")]), qwen.bound)
        store, node = MemoryStore(), None
        for place in range(0, 2 * turns, 2):
            opening, key = history.keys[place], history.keys[place + 1]
            node = stored(node, [said[place]], other if place == 0 else thought, key, opening)
            store.add(node)
        lineage = Lineage(store)
        return calls_of(lambda: lineage.find(history, b"t"), in_c=False)

    assert calls(400) < 2.5 * calls(200)


def test_of_many_turns_behind_many_equal_messages_few_are_compared(qwen: Bench) -> None:
    answer = Message(role="assistant", content="a")
    said = [*[user("x"), answer] * 50, user("y")]

    def calls(turns: int, last: Message) -> int:
        history = history_of(Asked(b"t", "m", [*said, answer, user("On")]), qwen.bound)
        store = MemoryStore()
        for _ in range(turns):
            store.add(stored(None, said, last, history.keys[len(said)], history.keys[0]))
        lineage = Lineage(store, most_compared=1_000)
        return calls_of(lambda: lineage.find(history, b"t"), in_c=False)

    for last in (answer, Message(role="assistant", content="b")):
        assert calls(200, last) < 1.5 * calls(50, last)


def test_of_many_equal_turns_that_broke_off_few_are_read(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = talk.ask(user("Hi"))
    for _ in range(MOST_CUT + 5):
        talk.core.answer(asked, talk.family.ids(["It is sunny"]), "abort", partial=True)
    read: list[Node] = []

    def fits_none(_dialect: Any, node: Node, _turn: Message, **_options: Any) -> None:
        read.append(node)

    monkeypatch.setattr(agents, "place_of_text", fits_none)
    talk.messages += [Message(role="assistant", content="It is"), user("Go on")]
    assert str(talk.ask().verdict) == "forked at turn 2"
    assert len(read) == MOST_CUT


def test_less_than_was_delivered_is_cut_at_an_id_or_forked(talk: Talk) -> None:
    asked = talk.ask(user("Hi"))
    node = talk.core.answer(asked, talk.family.ids(["It is sunny and warm"]), "abort", partial=True)
    talk.messages += [Message(role="assistant", content="It is sunny"), user("Go on")]
    again = talk.ask()
    assert again.verdict.kind == "extended"
    assert again.prompt[: again.kept] == node.ids()[: again.kept]
    assert asked.prompt == again.prompt[: len(asked.prompt)]
    talk.messages[-2] = Message(role="assistant", content="It is sun")
    between = talk.ask()
    assert str(between.verdict) == "forked at turn 2"
    talk.messages[-2] = Message(role="assistant", content="It was")
    assert str(talk.ask().verdict) == "forked at turn 2"


def test_of_equal_parts_the_one_is_taken_whose_ids_are_sent_or_else_the_last(talk: Talk) -> None:
    """A client asked twice for one answer, and both broke off behind the same text, in other ids."""
    asked, encode = talk.ask(user("Hi")), talk.family.encode
    cuts = (["It is", " sunny"], ["It is s", "unny"])
    nodes = [
        talk.core.answer(asked, [each for part in cut for each in encode(part)], "abort", partial=True)
        for cut in cuts
    ]
    first, last = nodes
    assert list(first.sampled) != list(last.sampled)
    talk.messages += [Message(role="assistant", content="It is sunny"), user("Go on")]
    for hints, node in (((), last), ((talk.core.ids(first),), first), ((talk.core.ids(last),), last)):
        again = talk.ask(hints=hints)
        assert str(again.verdict) == f"extended {node.length}"
        assert again.prompt[: node.length] == node.ids()


@pytest.mark.parametrize("said", [[THOUGHT[0], "hm and"], [THOUGHT[0], "hm", THOUGHT[1], CALL[:40]]])
def test_a_turn_cut_by_its_length_is_ended_and_continued(talk: Talk, said: list[Any]) -> None:
    talk.core.rules = ReasoningRules(kept="all")
    node = talk.say(talk.ask(user("Hi")), *said, finish="length")
    asked = talk.ask(user("Go on"))
    assert str(asked.verdict) == f"extended {node.length}"
    assert talk.family.spelled(list(asked.prompt[node.length :])).startswith("<|im_end|>\n<|im_start|>user")


def test_the_search_takes_one_access_for_a_known_history_however_long(talk: Talk) -> None:
    store = talk.core.lineage.store
    assert isinstance(store, MemoryStore)
    for number in range(30):
        before = store.accesses
        talk.say(talk.ask(user(f"{number}?")), f"{number}.", END)
        assert store.accesses - before <= 1


@pytest.mark.parametrize("kept", ["all", "tool_cycle", "template"])
def test_the_tree_holds_as_many_ids_for_each_round_however_long_the_conversation_is(
    talk: Talk, kept: Any
) -> None:
    """Also where reasoning is left out of known ids, which are then written once more."""
    talk.core.rules = ReasoningRules(kept=kept)
    held = [0]
    for _ in range(6):
        talk.say(talk.ask(user("And now?")), *THOUGHT[:1], "hm", THOUGHT[1], CALL, END)
        node = talk.say(talk.ask(result("sun")), THOUGHT[0], "so", THOUGHT[1], "Sunny.", END)
        held.append(sum(len(each.inserted) + len(each.sampled) for each in node.path()))
    rounds = {after - before for before, after in pairwise(held[1:])}
    assert len(rounds) == 1, "a round costs as many ids as the one before"
    assert kept != "all" or held[-1] == node.length


@pytest.mark.parametrize("again", [True, False])
def test_no_step_of_python_is_made_for_each_id_that_is_known(qwen: Bench, again: bool) -> None:
    """Also where reasoning is left out of the known ids, because a user speaks again."""
    calls = {}
    for size in (10, 400):
        talk = Talk(qwen, Core(qwen.bound, MemoryStore()))
        asked = talk.ask(user("Hi"))
        for _ in range(8):
            node = talk.say(asked, *THOUGHT[:1], {"text": "hm " * size}, THOUGHT[1], CALL, END)
            asked = talk.ask(result("sun"))
        if again:
            talk.say(asked, *THOUGHT[:1], {"text": "hm " * size}, THOUGHT[1], "Yes.", END)
            talk.messages.append(user("Why?"))
        kind = talk.ask().verdict.kind
        assert kind == ("rendered" if again else "extended")
        calls[node.length] = calls_of(talk.ask)
    (short, few), (long, many) = calls.items()
    assert long > 4 * short
    assert many < few + 60, "one more comparison for each 256 ids"


def test_an_evicted_conversation_is_new_and_says_so(qwen: Bench) -> None:
    now = [0.0]
    talk = Talk(qwen, Core(qwen.bound, MemoryStore(max_age=10, clock=lambda: now[0])))
    talk.say(talk.ask(user("Hi")), "Yes.", END)
    now[0] = 11.0
    other = talk.branch()
    other.messages = [SYSTEM]
    other.say(other.ask(user("Unrelated")), "Ok.", END)
    other.messages = [SYSTEM, *talk.messages[1:], user("Why?")]
    verdict = str(other.ask().verdict)
    assert verdict == "new (evicted)", "another beginning is no part of it"
    now[0] = 22.0
    talk.core.lineage.store.evict()  # type: ignore[attr-defined]
    assert str(talk.ask(user("Why?")).verdict) == "new (evicted)"


def test_the_arguments_of_a_call_may_be_written_anew(talk: Talk) -> None:
    first = talk.say(talk.ask(user("Hi")), CALL, END)
    call = MessageCall("weather", None, "x", '{"days": 3.0, "city": "\\u004fslo"}')
    talk.messages[-1] = replace(first.turn, calls=(call,))
    assert str(talk.ask(result("sun", "x")).verdict) == f"extended {first.length}"
    talk.messages[2] = replace(first.turn, calls=(replace(call, text='{"days": 3, "city": "Bergen"}'),))
    with pytest.raises(PromptError):
        talk.ask()  # another call, and its arguments were not read


def test_memory_stays_in_its_bounds_and_what_is_left_can_be_continued(qwen: Bench) -> None:
    draw = random.Random(7)
    store = MemoryStore(max_bytes=40_000)
    core = Core(qwen.bound, store)
    talks = [Talk(qwen, core, b"%d" % number) for number in range(6)]
    for number in range(80):
        talk = draw.choice(talks)
        asked = talk.ask(user(f"{number}"))
        assert asked.verdict.kind in ("new", "extended") or asked.verdict.evicted
        talk.say(asked, f"{number}.", END)
        assert store.size <= 40_000
        assert all(
            node.parent is None or node.parent.nonce in store._by_nonce for node in store._by_nonce.values()
        )
    assert store.size == sum(node.size for node in store._by_nonce.values())
