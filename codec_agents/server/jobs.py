"""From a request to a job: which model, which ids, which options."""

from __future__ import annotations

from collections.abc import Sequence

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.backends.backend import Backend, Job, ServedModel
from codec_agents.server.bodies import ChatBody, CompletionBody, Sampling
from codec_agents.server.chat import chat_prompt
from codec_agents.server.http import HttpError, Request
from codec_agents.server.negotiation import require_map
from codec_agents.server.settings import ServerSettings
from codec_core.frames import CodecRequest
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

PASSED_ON = ("traceparent", "tracestate")
"""Request headers that back ends get to see."""


class JobMaker:
    """Makes jobs within the server's limits."""

    def __init__(self, backend: Backend, settings: ServerSettings) -> None:
        self._backend = backend
        self._settings = settings

    def from_completion(self, body: CompletionBody, request: Request) -> Job:
        """Return the job of a completion request.

        Raises:
            HttpError: 400 or 404, with what would do.
        """
        if body.echo:
            raise HttpError(400, "echo is not served; the prompt is the client's own", param="echo")
        model = self._model(body.model, request)
        return self._job(model, _prompt_ids(body.prompt, model.vocabulary), self._options(body), request)

    def from_chat(self, body: ChatBody, request: Request) -> Job:
        """Return the job of a chat request.

        Raises:
            HttpError: 400 or 404, with what would do.
        """
        model = self._model(body.model, request)
        return self._job(model, chat_prompt(body, model.vocabulary), self._options(body), request)

    def from_codec(self, asked: CodecRequest, request: Request) -> Job:
        """Return the job of a binary request, which has no room for a model's name.

        The model is the one in the query, or the one that speaks the client's map, or the default.

        Raises:
            HttpError: 400 or 404, with what would do.
        """
        options = SamplingOptions(
            max_tokens=self._limit(asked.max_tokens or None),
            temperature=asked.temperature,
            stop=tuple(asked.stop or ()),
        )
        model = self._model(request.query.get("model"), request)
        return self._job(model, asked.prompt_ids, options, request)

    def _model(self, name: str | None, request: Request) -> ServedModel:
        models = self._backend.models
        if name is None:
            held = request.headers.get("x-codec-map")
            return next((model for model in models if held and model.vocabulary.hash == held), models[0])
        return find_model(models, name)

    def _options(self, body: Sampling) -> SamplingOptions:
        if body.n is not None and body.n != 1:
            raise HttpError(400, "n must be 1: a stream of ids has no choice index", param="n")
        return SamplingOptions(
            max_tokens=self._limit(body.limit),
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            seed=body.seed,
            stop=body.stops,
            stop_token_ids=tuple(body.stop_token_ids or ()),
        )

    def _limit(self, asked: int | None) -> int:
        if asked is None:
            return self._settings.default_max_tokens
        if not 1 <= asked <= self._settings.max_tokens:
            raise HttpError(
                400, f"max_tokens must be 1 to {self._settings.max_tokens}, not {asked}", param="max_tokens"
            )
        return asked

    def _job(
        self, model: ServedModel, prompt_ids: Sequence[int], options: SamplingOptions, request: Request
    ) -> Job:
        require_map(request, model.vocabulary)
        self._check_prompt(model, prompt_ids, options)
        passed_on = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        return Job(model, prompt_ids, options, passed_on)

    def _check_prompt(self, model: ServedModel, ids: Sequence[int], options: SamplingOptions) -> None:
        if not ids:
            raise HttpError(400, "the prompt is empty", param="prompt")
        if len(ids) > self._settings.max_prompt_ids:
            limit = self._settings.max_prompt_ids
            raise HttpError(400, f"the prompt has {len(ids)} ids, the limit is {limit}", param="prompt")
        if model.context is not None and len(ids) + options.max_tokens > model.context:
            asked = f"{len(ids)} prompt ids and max_tokens {options.max_tokens}"
            raise HttpError(
                400,
                f"{asked} exceed the context of {model.context}",
                code="context_length_exceeded",
                param="prompt",
            )
        for token in ids:
            if not model.vocabulary.is_valid(token):
                raise HttpError(400, f"token id {token} is out of vocabulary", param="prompt")


def find_model(models: Sequence[ServedModel], name: str) -> ServedModel:
    """Return the model of a name.

    Raises:
        HttpError: 404, there is none.
    """
    for model in models:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in models)
    raise HttpError(
        404,
        f"there is no model {name[:200]!r}; there are: {known}",
        code="model_not_found",
        param="model",
    )


def _prompt_ids(prompt: str | list[int | str | list[int]], vocabulary: Vocabulary) -> Sequence[int]:
    """A prompt is one text or one list of ids; a list with one prompt in it is the same."""
    if isinstance(prompt, str):
        return pick_tokenizer(vocabulary).encode(prompt)
    if prompt and not isinstance(prompt[0], int):
        if len(prompt) > 1:
            raise HttpError(400, "one request has one prompt; send several requests", param="prompt")
        return _prompt_ids(prompt[0], vocabulary)  # type: ignore[arg-type]
    return prompt  # type: ignore[return-value]
