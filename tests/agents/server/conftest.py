"""A scripted server and plain HTTP clients."""

import pytest

from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
from codec_agents.server.recording import RecordingExchanges
from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map, bundled_map_bytes
from codec_core.vocabulary import vocabulary_of


@pytest.fixture
def words():
    return vocabulary_of(bundled_map("demo/words"))


@pytest.fixture
def serve(words):
    """Give a function that makes a server of one scripted model."""

    def make(script, *, settings=None, source=words, **pace):
        backend = ScriptedBackend.of(source, script, "model-1", **pace)
        maps = {map_id: bundled_map_bytes(map_id) for map_id in BUNDLED_MAPS}
        return EmbeddedServer(create_app(backend, settings, maps=maps, exchanges=RecordingExchanges()))

    return make
