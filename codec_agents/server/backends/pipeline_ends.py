"""The parts of a pipeline that are served: where the prompt enters, and where the answer leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.exceptions import PipelineError
from codec_agents.faults import Fault, suggest
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltInput, BuiltSink
    from codec_agents.plan.plan import BuiltPipeline


def input_of(built: BuiltPipeline, name: str | None) -> BuiltInput:
    """Return the input that gets the prompt; the others must have values of their own."""
    needed = [node for node in built.inputs.values() if node.default is None]
    chosen = built.inputs.get(name) if name is not None else None
    if name is not None and chosen is None:
        raise _fault(built, "nodes", f"there is no input {name!r}", suggest(name, built.inputs, "inputs"))
    if chosen is None and len(needed) != 1:
        # Where all have defaults, the only one is meant.
        candidates = needed or list(built.inputs.values())
        if not candidates:
            raise _fault(
                built, "nodes", "there is no input for the prompt", "add an input, with an edge from it"
            )
        if len(candidates) != 1:
            names = ", ".join(node.name for node in candidates)
            found = f"several inputs can be the prompt: {names}"
            raise _fault(built, "nodes", found, _name_one("input", candidates[0].name))
        chosen = candidates[0]
    chosen = chosen or needed[0]
    for node in needed:
        if node is not chosen:
            place, found = f"nodes.{node.name}", f"only {chosen.name!r} gets a value: the prompt"
            raise _fault(built, place, found, "give this input a `default`")
    return chosen


def sink_of(built: BuiltPipeline, name: str | None) -> BuiltSink:
    """Return the sink whose ids are the answer."""
    if name is not None:
        if name not in built.sinks:
            raise _fault(built, "nodes", f"there is no sink {name!r}", suggest(name, built.sinks, "sinks"))
        return built.sinks[name]
    sinks = list(built.sinks.values())
    if not sinks:
        raise _fault(built, "nodes", "there is no sink for the answer", "add a sink, with an edge to it")
    # Sinks of ids are for programs; the one of text is what a reader sees.
    candidates = sinks if len(sinks) == 1 else [sink for sink in sinks if sink.text]
    if len(candidates) != 1:
        names = ", ".join(built.sinks)
        found = f"several sinks can be the answer: {names}"
        raise _fault(built, "nodes", found, _name_one("sink", (candidates or sinks)[-1].name))
    return candidates[0]


def vocabulary_at(built: BuiltPipeline, sink: BuiltSink) -> Vocabulary:
    """Return the one vocabulary of the ids that reach a sink."""
    found = [edge.source_vocabulary for edge in built.edges_into(sink.name)]
    known = [vocabulary for vocabulary in found if vocabulary is not None]
    place = f"nodes.{sink.name}"
    if not known or len(known) < len(found):
        raise _fault(built, place, "text reaches this sink, but a model answers in ids", "serve another sink")
    # Not by hash or id: maps made in memory have no hash, and two of them may have one id.
    if len({vocabulary.identity for vocabulary in known}) > 1:
        ids = ", ".join(sorted({vocabulary.id for vocabulary in known}))
        raise _fault(built, place, f"ids of several maps reach this sink: {ids}", "join them in one map")
    return known[0]


def _name_one(field: str, name: str) -> str:
    """Return the remedy for an end that is not clear: for a file, the command line and Python."""
    return f"name one: `serve: {{{field}: {name}}}`, `--{field} {name}`, or in Python `{field}={name!r}`"


def _fault(built: BuiltPipeline, place: str, found: str, remedy: str) -> PipelineError:
    return PipelineError([Fault(place, found, remedy)], built.name)
