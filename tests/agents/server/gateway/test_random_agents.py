"""Random agents over every family: a prompt is an exact extension, or a reported fork or rendering."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from codec_agents.dialects import BoundDialect, dialects
from codec_agents.exceptions import PromptError
from codec_agents.server.gateway.broken_turns import place_of_text
from codec_agents.server.gateway.continuation import Continuation
from codec_agents.server.gateway.equivalence import call_form, without_edges
from codec_agents.server.gateway.lineage import Lineage
from codec_agents.server.gateway.sqlite_store import SqliteStore
from codec_agents.server.gateway.store import MemoryStore, Store
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import FAMILIES, READ_ALIKE, TOOLS, bench
from tests.agents.server.gateway.agents import Client, Core, Model

NAMES = sorted({*FAMILIES, *READ_ALIKE} & set(dialects()))


def new_client(core: Core, model: Model, draw: random.Random, tenant: bytes) -> Client:
    has_system = bool(core.dialect.dialect.system or core.dialect.dialect.system_in_user)
    return Client(
        core,
        model,
        draw,
        tenant,
        system="Be  brief.\n" if has_system and draw.random() < 0.8 else None,
        sends_reasoning=draw.random() < 0.5,
        strips=draw.random() < 0.5,
        rewrites=draw.random() < 0.5,
    )


def check_continued(client: Client, continuation: Continuation) -> None:
    """Check a prompt behind a history that the client did not change."""
    node, verdict = client.last_node(), continuation.verdict
    if client.broken and verdict.kind == "forked":  # what the client got of the turn is no first ids of it
        assert continuation.verdict.turn == len(client.messages) - 1
        del client.nodes[max(client.nodes)]
        return
    if node is None:
        assert str(verdict) in ("new", "new (evicted)"), verdict
        assert continuation.kept == 0
        return
    assert continuation.parent is not None
    assert continuation.parent.nonce == node.nonce, "another turn than the client's was continued"
    assert node.tenant == client.tenant
    known, prompt = node.ids(), continuation.prompt
    if client.broken:  # a turn may end with ids that are no text yet
        cut = place_of_text(client.core.dialect, node, client.messages[-2], with_tools=True)
        assert cut is not None
        known = known[: node.prompt_length + cut]
    if verdict.kind == "extended":
        assert prompt[: len(known)] == known
        assert verdict.ids == len(known)
        return
    assert verdict.kind == "rendered"
    dialect = client.core.dialect
    within = dialect.dialect.keeps_reasoning_between_calls(dialect.absent)
    assert client.messages[-1].role == "user" or not within
    assert not dialect.dialect.keeps_reasoning(None, dialect.absent, with_tools=True)
    rest = list(dialect.reasoning.left_out(known, node.begin))
    assert list(prompt[: len(rest)]) == rest, "more than reasoning was changed"
    assert prompt[: verdict.ids] == known[: verdict.ids]


def said(dialect: BoundDialect, ids: Sequence[int]) -> list[tuple[str, str, list[tuple[bytes, bytes]]]]:
    """Return what a prompt says, without reasoning, which families leave out."""
    return [
        (message.role, without_edges(message.content), [call_form(call) for call in message.calls])
        for message in dialect.read(ids).messages
    ]


def run_agents(
    name: str,
    shared_map: Callable[[str], TokenizerMap],
    seed: int,
    turns: int,
    file: Path | None = None,
    *,
    reads: bool = False,
) -> None:
    """Let two clients talk in turns.

    Args:
        name: the family.
        shared_map: gives its map.
        seed: of all that is drawn.
        turns: how often a client asks.
        file: a store in a file; the gateway is started anew now and then.
        reads: whether each prompt is compared with one that is written anew of what its client sent.
    """
    draw = random.Random(f"{name} {seed}")
    family = bench(name, shared_map)
    store: Store = MemoryStore() if file is None else SqliteStore(file)
    core = Core(family.bound, store)
    model = Model(name, family, draw)
    clients = [new_client(core, model, draw, tenant) for tenant in (b"one", b"two")]
    for _ in range(turns):
        if file is not None and draw.random() < 0.3:
            store.close()
            store = SqliteStore(file, MemoryStore(max_bytes=draw.choice((0, 20_000, 1 << 30))))
            core.lineage = Lineage(store)
        client = draw.choice(clients)
        client.go_on()
        edited = draw.randrange(len(client.messages)) if draw.random() < 0.15 else None
        if edited is not None:
            client.edit(edited)
        try:
            continuation = client.ask()
        except PromptError:
            assert edited is not None, "a history that the client did not change must be continued"
            clients[clients.index(client)] = new_client(core, model, draw, client.tenant)
            continue
        if reads:
            anew = core.dialect.write(client.request(), tools=TOOLS)
            assert said(core.dialect, continuation.prompt) == said(core.dialect, anew)
        if edited is not None and any(m.role == "assistant" for m in client.messages[edited:]):
            # Behind another first message, nothing of the conversation is left that could be known.
            forked = f"forked at turn {edited + 1}" if edited else "new"
            assert str(continuation.verdict) == forked
            known = [node for place, node in client.nodes.items() if place < edited]
            parent = continuation.parent
            assert (parent and parent.nonce) == (known[-1].nonce if known else None)
        else:
            check_continued(client, continuation)
        client.broken = draw.random() < 0.1
        if client.broken:
            sampled = model.turn(continuation.prompt)
            node = core.answer(continuation, sampled[: draw.randint(1, len(sampled))], "abort", partial=True)
            if client.got(node):
                continue
            client.broken = False
        for _ in range(2 if draw.random() < 0.1 else 1):  # the same request once more is another sample
            node = core.answer(continuation, model.turn(continuation.prompt))
            assert list(node.ids()) == [*continuation.prompt, *node.sampled]
        client.take(node)
    store.close()


@pytest.mark.parametrize("name", ["qwen3", "harmony"])
def test_random_agents_keep_their_ids(name: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    for seed in range(5):  # of two clients each: twenty conversations
        run_agents(name, shared_map, seed, turns=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "kimi-k2", "glm-4.5", "deepseek-v3", "inkling"])
def test_a_prompt_says_what_its_client_sent(name: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    """Edited histories, forks, parts of broken turns and samples of one request among them."""
    for seed in range(20):
        run_agents(name, shared_map, seed, turns=14, reads=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["qwen3", "harmony", "mistral-v3", "kimi-k2", "glm-4.5"])
def test_random_agents_keep_their_ids_over_restarts(
    name: str, shared_map: Callable[[str], TokenizerMap], tmp_path: Path
) -> None:
    for seed in range(40):
        run_agents(name, shared_map, seed, turns=16, file=tmp_path / f"{seed}.db")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_random_agents_of_every_family_keep_their_ids(
    name: str, shared_map: Callable[[str], TokenizerMap]
) -> None:
    for seed in range(5_000 // len(NAMES) + 1):  # of two clients each: 10,000 conversations over all families
        run_agents(name, shared_map, seed, turns=14)
