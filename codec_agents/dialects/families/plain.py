"""No family: a prompt put together by hand, and an answer in which nothing is marked."""

from __future__ import annotations

from codec_agents.dialects.base import Dialect, Openings

PLAIN = Dialect(
    name="plain",
    description="no chat format: the prompt is used as it is, and the whole output is the answer",
    markers=(),
    system="{content}",
    user="{content}",
    assistant="{content}",
    opening=Openings(default=""),
    turn_starts=(),
    turn_end=None,
    stops=("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "</s>", "<|endoftext|>", "<|end_of_text|>"),
)

DIALECTS = (PLAIN,)
