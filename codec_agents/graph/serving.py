"""How a server answers with the pipeline, as if it were one model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from codec_agents.graph.base import Declared, Flag
from codec_agents.graph.kinds import Name


class ServeSpec(Declared):
    """The places of a chat's parts in the pipeline."""

    input: Name | None = None
    """The input that gets the user's message; the only one without a default when left out."""
    sink: Name | None = None
    """The sink whose ids are the answer; the only one, or the only one of text, when left out."""
    system: Name | None = None
    """The model whose system text a client's is added to; without it, a system text is refused."""
    tools: Name | None = None
    """The model that may call a client's tools; without it, tools are refused."""
    store: Annotated[str, Field(min_length=1)] | None = None
    """The SQLite file in which conversations outlast the server, relative to the pipeline file or absolute;
    they are in memory alone when left out. `--store` wins."""
    progress: Flag = False
    """Whether clients may ask for what happens in a run: nodes that begin and end, tools that are called."""
