"""A model that reasons, on a real vLLM: how many ids of its prompts are computed again.

    python -m tests.benchmarks gateway_turns --only qwen3

vLLM is started with a small model of random weights that has Qwen 3's architecture, tokenizer and chat
template, and vLLM's own parsers of its reasoning and calls. Each answer is held to a script, as ids: vLLM
samples, caches and counts as for any model, and the texts are those of a model that works well. It calls a
tool several times for each question of the user, and thinks before each call.

The client is the `openai` package, in each row with the same messages. `plain` asks vLLM's chat API, and
`gateway` a gateway in front of it. Clients send the reasoning of earlier turns back as they received it (the
`openai` package, pydantic-ai) or drop it (the OpenAI Agents SDK, LangGraph).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from openai import AsyncOpenAI

from codec_agents.engines.factory import make_engine
from codec_agents.server import EmbeddedServer, Gateway, ReasoningRules
from codec_agents.server.gateway.continuation import ReasoningRule
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.benchmarks.gateway_turns import Held
from tests.real_engines.engines import BLOCK
from tests.real_engines.models import qwen3_map

ENGINE = "qwen3"
TOOL = {
    "type": "function",
    "function": {
        "name": "fares",
        "description": "Find the fares of one day.",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string"}, "sort": {"enum": ["price", "time"]}},
            "required": ["day"],
        },
    },
}
RESULT = (
    "On {day} the fares are 96, 131 and 148 euros; the cheapest flight leaves at 13:40 and takes 2 hours."
)


class Turn(NamedTuple):
    """One turn of the model: what it thinks, and the day whose fares it asks for, or its answer."""

    thought: str
    day: str = ""
    answer: str = ""


QUESTIONS: Sequence[tuple[str, Sequence[Turn]]] = (
    (
        "When is it cheapest to fly to Oslo next week?",
        (
            Turn(
                "The user asks for the cheapest flight to Oslo next week. The tool knows the fares of a day "
                "only, so I have to ask for each day and compare. I begin with Monday.",
                day="Monday",
            ),
            Turn(
                "On Monday the cheapest one is 96 euros, at 13:40. That is one day of five. Tuesdays are "
                "often cheaper because fewer people fly on business, so I look at Tuesday next.",
                day="Tuesday",
            ),
            Turn(
                "Tuesday has the same fares. I cannot say anything about the rest of the week yet. I go on "
                "with Wednesday, and then I have seen the half of the week that the user probably means.",
                day="Wednesday",
            ),
            Turn(
                "All three days are alike: 96, 131 and 148 euros. There is no reason to look further, and I "
                "should say plainly that the day makes no difference to the price.",
                answer="From Monday to Wednesday it is the same: 96 euros, with the flight at 13:40.",
            ),
        ),
    ),
    (
        "And on the weekend?",
        (
            Turn(
                "The weekend is Saturday and Sunday. I know the fares of three working days and none of the "
                "weekend, so I ask for both days. Saturday comes first.",
                day="Saturday",
            ),
            Turn(
                "Saturday costs as much as the days before. Sunday evenings are usually dear because people "
                "come home then, but the user flies out. I look at Sunday as well.",
                day="Sunday",
            ),
            Turn(
                "Sunday is the same too. I have what the user asked for, and can answer in one sentence.",
                answer="On Saturday and Sunday it is 96 euros as well.",
            ),
        ),
    ),
    (
        "Then Friday, please, if it is no dearer.",
        (
            Turn(
                "The user wants to fly on Friday if Friday is not dearer than 96 euros. I have not looked at "
                "Friday yet, so I must ask before I say anything.",
                day="Friday",
            ),
            Turn(
                "Friday is 96 euros as well. The user may need another day if the flight is full, so I look "
                "at Thursday before I answer.",
                day="Thursday",
            ),
            Turn(
                "Both are 96 euros. Friday is no dearer than the other days, so the answer is yes, and I "
                "name the flight and its length.",
                answer="Friday is 96 euros: the flight at 13:40, which takes 2 hours.",
            ),
        ),
    ),
)


class Counts(NamedTuple):
    """Of one prompt: its ids, and those that the engine had in its cache; and the ids of the answer to it."""

    prompt: int
    cached: int
    answer: int

    @property
    def computed(self) -> int:
        """The ids that the engine computed."""
        return self.prompt - self.cached


def scripted(turn: Turn) -> str:
    """Return the text of a turn in the model's format."""
    arguments = f'{{"day": "{turn.day}", "sort": "price"}}'
    call = f'<tool_call>\n{{"name": "fares", "arguments": {arguments}}}\n</tool_call>'
    return f"<think>\n{turn.thought}\n</think>\n\n{turn.answer or call}"


def grammar(ids: Sequence[int]) -> str:
    """Return the grammar of exactly these ids, which llguidance reads."""
    return f"start: {' '.join(f'<[{token_id}]>' for token_id in ids)}"


class Path:
    """One way to the engine.

    Args:
        name: in the table.
        client: of the API that is asked.
        held: the engine of the gateway; None where vLLM is asked itself.
        keeps: whether the client sends reasoning back.
    """

    def __init__(self, name: str, client: AsyncOpenAI, held: Held | None, *, keeps: bool) -> None:
        self.name = name
        self._client, self._held, self._keeps = client, held, keeps

    async def talk(self, vocabulary: Vocabulary) -> list[Counts]:
        """Return the counts of each turn of the conversation."""
        encode = pick_tokenizer(vocabulary).encode
        # The time keeps each conversation from what the engine has of the others.
        messages: list[Any] = [{"role": "system", "content": f"{time.time_ns()}. Be brief."}]
        counts = []
        for question, turns in QUESTIONS:
            messages.append({"role": "user", "content": question})
            for turn in turns:
                found, message = await self._ask(messages, {"grammar": grammar(encode(scripted(turn)))})
                counts.append(found)
                require_scripted(message, turn)
                messages.append(self._sent_back(message))
                messages += [
                    {"role": "tool", "tool_call_id": call.id, "content": RESULT.format(day=turn.day)}
                    for call in message.tool_calls or ()
                ]
        return counts

    async def _ask(self, messages: Sequence[Any], form: Mapping[str, Any]) -> tuple[Counts, Any]:
        body = {} if self._held else {"structured_outputs": form}
        if self._held is not None:
            self._held.form = dict(form)
        answer = await self._client.chat.completions.create(
            model=ENGINE, messages=list(messages), tools=[TOOL], max_tokens=400, extra_body=body
        )
        assert answer.usage is not None
        details = answer.usage.prompt_tokens_details
        if details is None or details.cached_tokens is None:
            raise RuntimeError(f"{self.name}: the engine reports no cached ids")
        usage = answer.usage
        found = Counts(usage.prompt_tokens, details.cached_tokens, usage.completion_tokens)
        return found, answer.choices[0].message

    def _sent_back(self, message: Any) -> dict[str, Any]:
        fields = message.model_dump(exclude_unset=True)
        dropped = () if self._keeps else ("reasoning", "reasoning_content")
        return {name: value for name, value in fields.items() if name not in dropped}


def require_scripted(message: Any, turn: Turn) -> None:
    """Check that a turn arrived as it was scripted.

    Raises:
        RuntimeError: it did not, so its counts would be of another conversation.
    """
    calls = [call.function.arguments for call in message.tool_calls or ()]
    thought = getattr(message, "reasoning", None) or getattr(message, "reasoning_content", None) or ""
    said = (thought.strip(), (message.content or "").strip(), len(calls))
    if said != (turn.thought, turn.answer, int(bool(turn.day))):
        raise RuntimeError(f"the answer is not the scripted one: {said}")


async def compare_paths(url: str) -> None:
    """Print the ids of each turn on each path to the vLLM at this origin."""
    vocabulary = vocabulary_of(read_map(str(qwen3_map())))
    held = Held(make_engine("vllm", name="engine", url=url), {})
    async with AsyncExitStack() as opened:

        async def client_of(origin: str) -> AsyncOpenAI:
            client = AsyncOpenAI(base_url=f"{origin}/v1", api_key="-", timeout=300)
            return await opened.enter_async_context(client)

        async def gateway(kept: ReasoningRule | None) -> AsyncOpenAI:
            rules = ReasoningRules(kept=kept)
            served = Gateway(held, vocabulary, ENGINE, dialect="qwen3", rules=rules)  # type: ignore[arg-type]
            return await client_of((await opened.enter_async_context(EmbeddedServer(served))).url)

        plain = await client_of(url)
        paths = (
            Path("plain, sent back", plain, None, keeps=True),
            Path("plain, dropped", plain, None, keeps=False),
            Path("gateway, dropped", await gateway(None), held, keeps=False),
            Path("gateway `--reasoning all`, dropped", await gateway("all"), held, keeps=False),
        )
        rows = {path.name: await path.talk(vocabulary) for path in paths}
    show(rows, new_ids([*rows.values()][-1]))


def new_ids(exact: Sequence[Counts]) -> list[int]:
    """Return how many ids of each prompt are new to the model, from prompts that keep all that was known."""
    before = [0, *(each.prompt + each.answer for each in exact)]
    return [each.prompt - known for each, known in zip(exact, before, strict=False)]


def show(rows: Mapping[str, Sequence[Counts]], new: Sequence[int]) -> None:
    """Print the table."""
    print(f"\nvLLM, Qwen 3: ids of each prompt - those cached (in blocks of {BLOCK}) = those computed\n")
    print(f"| turn | new ids | {' | '.join(rows)} |")
    print(f"| --- | --- |{' --- |' * len(rows)}")
    names = [
        f"{question}.{number}"
        for question, (_, turns) in enumerate(QUESTIONS, 1)
        for number in range(1, len(turns) + 1)
    ]
    sums = [Counts(*map(sum, zip(*each, strict=True))) for each in rows.values()]
    turns = zip([*names, "all"], [*new, sum(new)], [*zip(*rows.values(), strict=True), sums], strict=True)
    for name, added, turn in turns:
        cells = [f"{each.prompt:,} - {each.cached:,} = {each.computed:,}" for each in turn]
        print(f"| {name} | {added:,} | {' | '.join(cells)} |")
    again = [f"{each.computed - sum(new):,}" for each in sums]
    print(f"| computed again | | {' | '.join(again)} |")
