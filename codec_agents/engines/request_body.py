"""Sampling options in each engine's own words, each at its declared place in a request.

An option has one spelling here and a table entry per engine and API: where it goes (the top level of the
body, the body's `sampling_params`, or a header) and its name there. An option without an entry is a fault: an
engine would ignore it in silence. Under `extra`, the user names a place for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.forms import gbnf_of, regex_of
from codec_agents.exceptions import EngineError

Where = Literal["body", "sampling_params", "headers"]
PLACES: tuple[Where, ...] = ("body", "sampling_params", "headers")


class Place(NamedTuple):
    """Where an option goes, its name there, and how its value is written."""

    where: Where
    word: str
    write: Callable[[Any], Mapping[str, Any]] | None = None
    """Returns the fields for a value that is not sent as it is."""


Table: TypeAlias = Mapping[str, Place]
"""The places of one API's options; those of `structured` have names such as `structured.json_schema`."""

CLIENT_SIDE = frozenset({"stop_token_ids", "max_tokens", "valued_ids"})
"""Options that the client sees to itself where an API has no name for them, or that it can do without."""


def same(where: Where, *options: str, **words: str) -> dict[str, Place]:
    """Return places for options by their own names, and for others by the given ones."""
    return {option: Place(where, word) for option, word in {**{o: o for o in options}, **words}.items()}


COMMON = ("max_tokens", "temperature", "top_p", "seed", "stop")
PENALTIES = ("presence_penalty", "frequency_penalty")


def response_format(schema: Any) -> Mapping[str, Any]:
    """Return a JSON schema as OpenAI's APIs take it."""
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return {"response_format": shape}


def within(field: str, name: str) -> Callable[[Any], Mapping[str, Any]]:
    """Return a writer that puts a value under a name within a field."""
    return lambda value: {field: {name: value}}


def vllm_structured(where: Where) -> dict[str, Place]:
    """Return vLLM's places for structured output."""
    names = {"json_schema": "json", "regex": "regex", "grammar": "grammar", "choice": "choice"}
    word = "structured_outputs"
    places = {f"structured.{kind}": Place(where, word, within(word, name)) for kind, name in names.items()}
    return {**places, "structured.ids": Place(where, "allowed_token_ids")}


PREFERRED = 1000.0
"""Added to the logits of the only ids that may be drawn, where an API cannot forbid the others: logits of
models are within some tens, so no other id is drawn, and the order among these stays."""


def preferred(pairs: Callable[[list[tuple[int, float]]], Any]) -> Callable[[Any], Mapping[str, Any]]:
    """Return a writer of `logit_bias`, in the API's own form of pairs of an id and what is added."""
    return lambda ids: {"logit_bias": pairs([(token_id, PREFERRED) for token_id in ids])}


by_text = preferred(lambda pairs: {str(token_id): bias for token_id, bias in pairs})


SESSION = {"session": Place("headers", "X-Session-ID")}

CODEC: Table = {
    **same(
        "body", *COMMON, *PENALTIES, "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids"
    ),
    **same("body", "cache_salt", "priority", "logprobs"),
    **SESSION,
}
"""A Codec server's, which are OpenAI's with those that vLLM adds."""

VLLM_COMPLETIONS: Table = {
    **CODEC,
    # Ids instead of the texts of tokens, which do not tell their ids.
    "logprobs": Place("body", "logprobs", lambda top: {"logprobs": top, "return_tokens_as_token_ids": True}),
    **vllm_structured("body"),
}

VLLM_MOST = 20
"""vLLM's default for `--max-logprobs`: it refuses a request for the values of more ids at a place."""


def _vllm_values(ids: list[int]) -> Mapping[str, Any]:
    """Return the fields that ask vLLM for the values of certain ids; none where they are too many."""
    # The server gives so many as `logprobs` says, of whichever ids.
    return {"logprobs": len(ids), "logprob_token_ids": ids} if len(ids) <= VLLM_MOST else {}


VLLM_GENERATE: Table = {
    **same("sampling_params", *COMMON, *PENALTIES, "top_k", "min_p", "repetition_penalty", "min_tokens"),
    **same("sampling_params", "stop_token_ids", "logprobs"),
    **vllm_structured("sampling_params"),
    "valued_ids": Place("sampling_params", "logprob_token_ids", _vllm_values),
    **same("body", "cache_salt", "priority"),
    **SESSION,
}

SGLANG_COMPLETIONS: Table = {
    **same(
        "body", *COMMON, *PENALTIES, "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids"
    ),
    **same("body", "cache_salt", "priority", "logprobs", session="session_id"),
    "structured.json_schema": Place("body", "response_format", response_format),
    "structured.regex": Place("body", "regex"),
    "structured.grammar": Place("body", "ebnf"),
    "structured.choice": Place("body", "regex", lambda choices: {"regex": regex_of(choices)}),
    "structured.ids": Place("body", "logit_bias", by_text),
}

SGLANG_GENERATE: Table = {
    **same("sampling_params", "temperature", "top_p", "stop", *PENALTIES, "top_k", "min_p"),
    **same("sampling_params", "repetition_penalty", "stop_token_ids", max_tokens="max_new_tokens"),
    **same("sampling_params", seed="sampling_seed", min_tokens="min_new_tokens"),
    **same("body", "cache_salt", "priority", session="session_id"),
    "logprobs": Place("body", "return_logprob", lambda n: {"return_logprob": True, "top_logprobs_num": n}),
    "valued_ids": Place("body", "token_ids_logprob"),
    "structured.json_schema": Place(
        "sampling_params", "json_schema", lambda schema: {"json_schema": msgspec.json.encode(schema).decode()}
    ),
    "structured.regex": Place("sampling_params", "regex"),
    "structured.grammar": Place("sampling_params", "ebnf"),
    "structured.choice": Place("sampling_params", "regex", lambda choices: {"regex": regex_of(choices)}),
    "structured.ids": Place("sampling_params", "logit_bias", by_text),
}

LOOKED_AT = 100
"""The most probable ids of a place, among which those are whose values are asked for; 10 KB."""

LLAMACPP: Table = {
    **same("body", "temperature", "top_p", "top_k", "min_p", "seed", "stop", *PENALTIES),
    **same("body", repetition_penalty="repeat_penalty"),
    # With 0 it reports nothing: the id's own probability comes with those of the most probable ones.
    "logprobs": Place("body", "n_probs", lambda top: {"n_probs": max(top, 1)}),
    # It cannot be asked for certain ids: they are looked for among these.
    "valued_ids": Place("body", "n_probs", lambda _: {"n_probs": LOOKED_AT}),
    "structured.json_schema": Place("body", "json_schema"),
    "structured.grammar": Place("body", "grammar"),
    "structured.choice": Place("body", "grammar", lambda choices: {"grammar": gbnf_of(choices)}),
    "structured.ids": Place("body", "logit_bias", preferred(list)),
}

OPENAI_COMPLETIONS: Table = {**same("body", *COMMON, *PENALTIES)}
"""Without `logprobs`, as `OPENAI_CHAT`: the ids of a text are not those that were sampled."""

OPENAI_CHAT: Table = {
    **same("body", *COMMON, *PENALTIES),
    "structured.json_schema": Place("body", "response_format", response_format),
}


def forms_in(*tables: Table) -> frozenset[str]:
    """Return the forms of an answer that all these APIs enforce."""
    names = [{name.removeprefix(FORM) for name in table if name.startswith(FORM)} for table in tables]
    return frozenset(set.intersection(*names))


FORM = "structured."


def for_model(request: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with the name of the model, where the request has one."""
    return {**body} if request.model is None else {**body, "model": request.model}


def place_options(
    engine: str, options: SamplingOptions, table: Table, body: dict[str, Any]
) -> dict[str, str]:
    """Put options into a body, each at its place; return the headers among them.

    Args:
        engine: the engine's name, for errors.
        options: the requested options; one that is not set is left to the engine.
        table: the places of the engine's API.
        body: the body so far; an API with sampling parameters of their own has them there already.

    Raises:
        EngineError: the API has no such option, or `extra` names none of its places.
    """
    headers: dict[str, str] = {}
    places: dict[str, Any] = {"body": body, "headers": headers}
    if "sampling_params" in body:
        places["sampling_params"] = body["sampling_params"]
    for name, value in _set_options(options):
        place = table.get(name)
        if place is not None:
            _put(places[place.where], place, value)
        elif name not in CLIENT_SIDE:
            known = ", ".join(sorted(table))
            raise EngineError(engine, f"its API has no sampling option {name!r}; it has {known}")
    # Last, so that what the user writes in the API's own words stands.
    for name, value in options.extra.items():
        _put_extra(engine, name, value, table, places)
    return headers


def _set_options(options: SamplingOptions) -> list[tuple[str, Any]]:
    found = [
        (name, value)
        for name in options.__struct_fields__
        if name not in ("extra", "structured")
        and (value := getattr(options, name)) is not None
        and value != ()
    ]
    if options.valued_ids:  # behind `logprobs`, which it changes
        found.append(("valued_ids", list(options.valued_ids)))
    return found + [(f"structured.{kind}", value) for kind, value in (options.structured or {}).items()]


def _put(target: dict[str, Any], place: Place, value: Any) -> None:
    if place.write is not None:
        target.update(place.write(value))
    else:
        target[place.word] = str(value) if place.where == "headers" else value


def _put_extra(engine: str, name: str, value: Any, table: Table, places: Mapping[str, Any]) -> None:
    # Its own word at its own place, or one of the options here; a bare field could belong at either level.
    if name in PLACES and isinstance(value, Mapping):
        if name not in places:
            raise EngineError(engine, f"its API has no {name}; give `sampling.extra.body` the fields instead")
        places[name].update(value)
    elif name in table:
        _put(places[table[name].where], table[name], value)
    else:
        raise EngineError(
            engine,
            f"sampling.extra has the unknown option {name!r}; name its place: "
            f"extra: {{body: {{{name}: ...}}}}, or sampling_params, or headers",
        )
