"""vLLM's parsers of calls and reasoning, on the small map of a dialect. It needs vLLM's environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.agents.dialects.readings import TOOLS, Parser, Said, Turn, bound, small_map_for


def tokenizer(parser: Parser) -> Any:
    """Return the dialect's small map as a tokenizer of `transformers`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer_map = small_map_for(parser.dialect, parser.without)
    special = tokenizer_map.special_tokens or {}
    plain = {token: number for token, number in (tokenizer_map.vocab or {}).items() if token not in special}
    built = Tokenizer(models.BPE(vocab=plain, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    stops = [name for name in bound(parser.dialect, parser.without).dialect.stops if name in special]
    found = PreTrainedTokenizerFast(tokenizer_object=built, eos_token=stops[0] if stops else None)
    found.init_kwargs.update(parser.tokenizer)
    vocabulary = found.get_vocab()
    assert {name: vocabulary[name] for name in special} == special
    return found


def reading_of(parser: Parser) -> Callable[[Turn], dict[str, Any]]:
    """Return what reads turns as the engine does."""
    return partial(reading, parser, tokenizer(parser))


def reading(parser: Parser, known: Any, turn: Turn) -> dict[str, Any]:
    """Return what the engine's parsers read in a turn, or its error."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    modes = {"on": {"enable_thinking": True}, "off": {"enable_thinking": False}, **parser.modes}
    told = dict(modes.get(turn.thinking or "default", {}))
    request = ChatCompletionRequest(
        model="m",
        messages=[{"role": "user", "content": "Hi"}],
        tools=[each.schema() for each in TOOLS],
        tool_choice="auto",
        chat_template_kwargs=told,
    )
    kind = ParserManager.get_parser(
        parser.calls or None,
        parser.reasoning or None,
        enable_auto_tools=True,
        is_harmony=parser.calls == "openai",
    )
    assert kind is not None
    engine = kind(known, request.tools, chat_template_kwargs=told)
    engine.set_prompt_token_ids(turn.prompt)
    text = known.decode(turn.ids, skip_special_tokens=False)
    try:
        reasoning, content, calls = engine.parse(
            text, request, enable_auto_tools=True, model_output_token_ids=turn.ids
        )
        found = tuple((call.name, json.loads(call.arguments)) for call in calls or ())
    except Exception as error:  # whatever a parser raises is its reading
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return Said(content or "", reasoning or "", found).document()
