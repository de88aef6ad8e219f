"""Models that say what a test tells them to, for tests of pipelines.

    def planner(prompt):
        if prompt.turn == 1:
            yield Think("I need the forecast.")
            yield Call("weather", city="Oslo")
        else:
            yield Say(f"It will be {prompt.results[0]}.")

    engine = ScriptedEngine(planner)                      # in this process, no HTTP
    engine = EmbeddedEngine(planner)                      # a real Codec server on loopback
    engine = ScriptedEngine(turns("first", "second"))     # fixed turns; one more is an error

An unexpected turn is an error, never an invented answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from codec_agents.engines.scripted.engine import ScriptedEngine, ScriptedModel
from codec_agents.engines.scripted.prompt_view import Message, PromptView
from codec_agents.engines.scripted.rules import Rule, Rules
from codec_agents.engines.scripted.script import (
    Call,
    Cut,
    Piece,
    Raw,
    Refuse,
    Say,
    Script,
    ScriptError,
    Stop,
    Think,
    Turn,
    Wait,
    encode_turn,
)

if TYPE_CHECKING:
    from codec_agents.engines.conformance import Conformance, ConformanceError, check_engine
    from codec_agents.server.recording import EmbeddedEngine, RecordingExchanges
    from codec_core.maps import TokenizerMap
    from codec_core.vocabulary import Vocabulary

__all__ = [
    "Call",
    "Conformance",
    "ConformanceError",
    "Cut",
    "EmbeddedEngine",
    "Message",
    "Piece",
    "PromptView",
    "Raw",
    "RecordingExchanges",
    "Refuse",
    "Rule",
    "Rules",
    "Say",
    "Script",
    "ScriptError",
    "ScriptedEngine",
    "ScriptedModel",
    "Stop",
    "Think",
    "Turn",
    "Turns",
    "Wait",
    "check_engine",
    "encode_turn",
    "scripted_server",
    "turns",
]


_HOMES = {
    "Conformance": "codec_agents.engines.conformance",
    "ConformanceError": "codec_agents.engines.conformance",
    "EmbeddedEngine": "codec_agents.server.recording",
    "RecordingExchanges": "codec_agents.server.recording",
    "check_engine": "codec_agents.engines.conformance",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: a test with a scripted engine alone needs no HTTP."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class Turns:
    """A script of fixed turns, one a request, whatever the prompts are; one request more is an error."""

    def __init__(self, *said: Turn) -> None:
        self.said = said
        self.prompts: list[PromptView] = []
        """The prompts seen, in order."""

    def __call__(self, prompt: PromptView) -> Turn:
        """Return the next turn."""
        self.prompts.append(prompt)
        if len(self.prompts) > len(self.said):
            raise ScriptError(
                f"request {len(self.prompts)} was not expected, the script has {len(self.said)} turns; "
                f"the prompt ends with {prompt.text[-120:]!r}"
            )
        return self.said[len(self.prompts) - 1]


def turns(*said: Turn) -> Turns:
    """Return a script of fixed turns, one a request."""
    return Turns(*said)


@contextmanager
def scripted_server(
    source: TokenizerMap | Vocabulary, script: Script | ScriptedModel, **settings: Any
) -> Iterator[Any]:
    """Serve a scripted model over real HTTP, from a thread; gives the server: `url`, `app.exchanges`.

    Args:
        source: the map, or its vocabulary.
        script: what the model says.
        settings: those of `ScriptedModel`.
    """
    # When it is served: see `__getattr__`.
    from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
    from codec_agents.server.recording import RecordingExchanges

    app = create_app(ScriptedBackend.of(source, script, **settings), exchanges=RecordingExchanges())
    with EmbeddedServer(app) as server:
        yield server
