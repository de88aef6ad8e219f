"""One pipeline several times, each with other servers for the same engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from codec_agents.exceptions import BatchError, PipelineError
from codec_agents.graph.files.reading import validation_faults
from codec_agents.graph.sources import EngineSpec
from codec_agents.pipeline import Pipeline
from codec_agents.scale.ray_serve import resolved


def replicas(file: str | Path, engines: Mapping[str, Sequence[str]] | None = None) -> list[Pipeline]:
    """Return as many pipelines as the longest list of URLs has; a shorter list is gone through again.

    A run stays with its servers, so that each turn finds the prefix of the one before in their caches.

    Args:
        file: The YAML or JSON file of the pipeline.
        engines: By the name of an engine: the URLs of servers of the same model, or of an application of Ray
            Serve (see `ray_serve`).

    Raises:
        BatchError: The pipeline has no such engine, a list is empty, or an application is not there.
        PipelineError: The file has faults, or a URL is none.
    """
    pipeline = Pipeline.from_yaml(Path(file))
    declared = pipeline.spec.engines
    for name, urls in (engines or {}).items():
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise BatchError(f"the pipeline has no engine {name!r}; its engines: {known}")
        if not urls:
            raise BatchError(f"the list of URLs of the engine {name!r} is empty")
    if not engines:
        return [pipeline]
    # After the checks, which ask nothing: an application is asked for over the network.
    engines = {name: resolved(urls) for name, urls in engines.items()}
    count = max(map(len, engines.values()))
    return [
        _with_urls(pipeline, {name: urls[number % len(urls)] for name, urls in engines.items()})
        for number in range(count)
    ]


def pipelines_of(given: Pipeline | Sequence[Pipeline]) -> list[Pipeline]:
    """Return the pipelines of a batch, which may be given as one alone."""
    return [given] if isinstance(given, Pipeline) else list(given)


def _with_urls(pipeline: Pipeline, urls: Mapping[str, str]) -> Pipeline:
    declared = pipeline.spec.engines
    changed = {name: _with_url(pipeline.name, name, declared[name], url) for name, url in urls.items()}
    spec = pipeline.spec.model_copy(update={"engines": {**declared, **changed}})
    return Pipeline.from_spec(spec, directory=pipeline.directory)


def _with_url(pipeline: str, name: str, engine: EngineSpec, url: str) -> EngineSpec:
    # Only what the file sets: which fields are set decides what the checks refuse. The one server takes the
    # place of a pool, too.
    fields = {**engine.model_dump(exclude_unset=True, exclude={"urls"}), "url": url}
    try:
        return EngineSpec.model_validate(fields)
    except ValidationError as error:
        faults = list(validation_faults(error, fields, place=("engines", name), model=EngineSpec))
        raise PipelineError(faults, pipeline) from None
