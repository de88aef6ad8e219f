"""The chain: one model drafts, the other one, of another vocabulary, finds a title for the draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codec_agents.cli.laptop.models import GEMMA, SMOLLM2, RealModel
from codec_agents.cli.laptop.servers import Served
from codec_agents.graph.chat import Chat, ChatPiece
from codec_agents.graph.kinds import Sampling
from codec_agents.graph.sources import MapSpec
from codec_agents.pipeline import Pipeline
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

TASK = "Describe a train journey from Lisbon to Porto in one paragraph."

VARIED = "Write one paragraph about {topic}."
TOPICS = ("lighthouses", "bread", "bicycles", "rain", "libraries", "clocks")
"""Each measured run has its own topic: no engine finds its prompt in a cache that the run before filled."""

DRAFT_IDS = 160
"""Room for one paragraph, which is what the task asks for."""
TITLE_IDS = 24
"""Room for one line, at whose end it stops."""
STRIDE = 48
"""Ids after which a longer beginning of the prompt is sent ahead; the default suits longer drafts."""

OWN_CUTS: Mapping[str, float] = {"llamacpp": 0.0}
"""The `min_p` with which a kind of engine cuts nothing off; llama.cpp does by default."""

BEFORE = (
    "Text: The old baker of our street rises at four, lights the oven and sings until the first loaves are "
    "done. When the shop opens, all of the neighbours stand in line.\n"
    "Title: The baker who sings at four\n\n"
    "Text: Three times a week the ferry crosses the strait. It takes two hours, and on clear days the "
    "passengers see whales from the upper deck.\n"
    "Title: Whales from the ferry\n\n"
    "Text: "
)
"""Examples: this Gemma is a pretrained model without a chat format, and continues what it is shown."""


def chain(
    served: Mapping[str, Served], files: Mapping[RealModel, Path], *, ahead: bool = False, drawn: bool = False
) -> Pipeline:
    """Return the pipeline.

    Args:
        served: the engines, by the models' names.
        files: the GGUF files.
        ahead: whether the second model reads its prompt ahead.
        drawn: whether the draft is drawn from all ids by the model's own probabilities. What is written so is
            not always what the tokenizer makes of the text; it is also worse prose.
    """
    p = Pipeline("two-models").input("task")
    maps = {model: MapSpec(path=str(file), id=model.map_id) for model, file in files.items()}
    for name, (kind, url) in served.items():
        p.engine(name, kind=kind, url=url)
    p.model(
        "smollm2",
        engine=SMOLLM2.name,
        model=SMOLLM2.name,
        map=maps[SMOLLM2],
        prompt=Chat(system="You write plain prose.", user="{task}"),
        sampling=_drawn(served) if drawn else Sampling(max_tokens=DRAFT_IDS, temperature=0.5, seed=7),
    )
    # By hand: no dialect covers a model without a chat format.
    pieces = (
        ChatPiece(token="<bos>"),  # noqa: S106 - no secret
        ChatPiece(text=BEFORE),
        ChatPiece(slot="draft"),
        ChatPiece(text="\nTitle:"),
    )
    p.model(
        "gemma3",
        engine=GEMMA.name,
        model=GEMMA.name,
        map=maps[GEMMA],
        # The map names the family Gemma, whose chat format this model was not trained on.
        dialect="plain",
        prompt=pieces,
        sampling=Sampling(max_tokens=TITLE_IDS, temperature=0.0, stop=("\n",)),
    )
    p.sink("reader", text=True).sink("draft", text=False)
    p.connect("task", "smollm2.task")
    p.connect("smollm2.answer", "gemma3.draft", prefill="ahead" if ahead else "off", prefill_stride=STRIDE)
    return p.connect("smollm2.answer", "draft").connect("gemma3.answer", "reader")


def _drawn(served: Mapping[str, Served]) -> Sampling:
    cut = OWN_CUTS.get(served[SMOLLM2.name][0])
    return Sampling(max_tokens=DRAFT_IDS, temperature=1.0, top_k=0, top_p=1.0, min_p=cut, seed=7)


@dataclass(frozen=True, slots=True)
class Reread:
    """The ids of an answer beside those of its text.

    Attributes:
        written: the number of ids that the model wrote.
        kept: how many of them, from the start, come back from the text; all of them where nothing changes.
        changed: how many do not come back at their place or a moved one.
        ids: the ids at the first difference, as they were written.
        others: the ids there that the text gives.
    """

    written: int
    kept: int
    changed: int
    ids: Sequence[bytes]
    others: Sequence[bytes]


SHOWN = 3
"""Ids shown of a difference."""


def reread(ids: Sequence[int], vocabulary: Vocabulary) -> Reread:
    """Return what becomes of ids on the way through text: decoded, and encoded again."""
    text = Detokenizer(vocabulary).render(list(ids))
    again = pick_tokenizer(vocabulary).encode_ordinary(text)
    kept = next((at for at, (a, b) in enumerate(zip(ids, again, strict=False)) if a != b), None)
    if kept is None:
        kept = min(len(ids), len(again))
    # Compared by the byte at which each id ends: one id that became two would move all behind it.
    written, others = _ends(ids, vocabulary), set(_ends(again, vocabulary))
    spelled = [
        [vocabulary.token_bytes(each) for each in found[kept : kept + SHOWN]] for found in (ids, again)
    ]
    return Reread(len(ids), kept, sum(each not in others for each in written), *spelled)


def _ends(ids: Sequence[int], vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """Return each id with the byte at which it ends: ids that moved are told from ids that changed."""
    at, found = 0, []
    for each in ids:
        at += len(vocabulary.token_bytes(each))
        found.append((at, each))
    return found
