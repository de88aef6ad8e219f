"""From a request to a job: which model, which token ids, which options.

Rules that hold in this file:

- The length of what a model is asked is checked before it is encoded, and the ids of a prompt before they are
  generated from.
- Nothing in proportion to a long prompt happens on the event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.access import tenant_of
from codec_agents.server.backends.backend import PROGRESS_HEADER, Backend, Job, Progress, ServedModel
from codec_agents.server.bodies import (
    CompletionBody,
    check_sampling,
    check_stops,
    read_completion,
    read_prompt,
)
from codec_agents.server.http import HttpError, Request
from codec_agents.server.logprobs import require_alternatives
from codec_agents.server.negotiation import require_map
from codec_agents.server.prompt_texts import MOST_UNCUT, PromptTexts
from codec_agents.server.settings import ServerSettings
from codec_agents.server.workers import Workers
from codec_core.frames import CodecRequest, decode_request, format_of_content_type
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.server.apis.request import ConversationRequest

ReadConversation: TypeAlias = "Callable[[bytes, ServerSettings, Mapping[str, str]], ConversationRequest]"
"""Reads the body of one chat API, with the request's headers."""

PASSED_ON = ("traceparent", "tracestate")
"""Request headers that back ends get to see."""

LIMITS = {"chat": "max_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}
"""The field of each chat API that says how many ids an answer may have."""


class JobMaker:
    """Makes jobs within the server's limits.

    Args:
        backend: has the models.
        settings: the limits.
        workers: encode, beside the event loop.
        most_uncut: characters of a text that a dialect encodes whole; of a longer one it is looked first if
            it can be cut.
    """

    def __init__(
        self, backend: Backend, settings: ServerSettings, workers: Workers, *, most_uncut: int = MOST_UNCUT
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._workers = workers
        self._texts = PromptTexts(settings, workers)
        self._most_uncut = most_uncut

    async def from_completion(self, request: Request) -> tuple[CompletionBody, Job]:
        """Return a completion request and its job.

        Raises:
            HttpError: 400 or 404, with a remedy.
        """
        read = partial(read_completion, request.body, self._settings)
        body = await self._workers.run(read, len(request.body))
        if body.echo:
            raise HttpError(400, "echo is not served; the prompt is the client's own", param="echo")
        _require_one(1 if body.n is None else body.n)
        model, options = self._model(body.model, request), self._within(body.options, body.limit)
        if body.alternatives is not None:
            options = msgspec.structs.replace(options, logprobs=self._alternatives(body))
        require_map(request, model.vocabulary)
        # Read apart from the other fields: a text and ids need different decoders, and it alone may be long.
        raw = bytes(body.prompt)
        prompt = await self._workers.run(partial(read_prompt, raw), len(raw))
        if isinstance(prompt, str):
            ids = await self._texts.encoded(prompt, model, options)
            return body, await self.job(model, ids, options, request, text=prompt)
        return body, await self.job(model, prompt, options, request)

    async def from_conversation(
        self, request: Request, read: ReadConversation
    ) -> tuple[ConversationRequest, Job]:
        """Return a request of one of the chat APIs and its job.

        Raises:
            HttpError: 400 or 404, with a remedy.
        """
        from codec_agents.server.apis.prompts import chat_prompt

        asked, model, options = await self.conversation(request, read)
        _require_no_earlier(asked)
        if getattr(self._backend, "converses", False):  # optional: back ends of users need not have it
            job = await self._conversation(asked, model, options, request)
            job.chat = asked
            return asked, job
        write = partial(chat_prompt, asked, model.vocabulary)
        ids = await self._workers.run(write, len(request.body))
        return asked, await self.job(model, ids, options, request, chat=asked)

    async def conversation(
        self, request: Request, read: ReadConversation, *, forces_calls: bool = False
    ) -> tuple[ConversationRequest, ServedModel, SamplingOptions]:
        """Return a request of one of the chat APIs, its model and its options, within the limits.

        Args:
            request: the request.
            read: reads its body.
            forces_calls: whether a model can be made to call a tool.

        Raises:
            HttpError: 400 or 404, with a remedy.
        """
        from codec_agents.server.apis.prompts import conversation_field
        from codec_agents.server.apis.request import encoded_texts

        reading = partial(read, request.body, self._settings, request.headers)
        asked = await self._workers.run(reading, len(request.body))
        _require_served(asked, forces_calls=forces_calls)
        require_alternatives(asked.sampling.logprobs, "top_logprobs")
        model = self._model(asked.model, request)
        options = self._within(asked.sampling, asked.max_tokens, LIMITS[asked.api])
        require_map(request, model.vocabulary)
        characters = await self._workers.run(lambda: asked.characters, len(request.body))
        await self._texts.check_length(characters, model, options, conversation_field(asked))
        if len(request.body) > self._most_uncut:  # a shorter one holds no text that long
            told = partial(encoded_texts, asked, conversation_field(asked))
            # A dialect encodes each of them whole: look first if it can be cut.
            for text, field in await self._workers.run(told, len(request.body)):
                if len(text) > self._most_uncut:
                    await self._texts.encoded_in_pieces(text, model, options, field)
        return asked, model, options

    async def _conversation(
        self, asked: ConversationRequest, model: ServedModel, options: SamplingOptions, request: Request
    ) -> Job:
        """Return the job of a back end that takes conversations: its prompt is the last message alone."""
        # Its ids are for the counts of usage; such a back end writes its prompts itself.
        text = asked.messages[-1].content
        encode = partial(pick_tokenizer(model.vocabulary).encode_ordinary, text)
        ids = await self._workers.run(encode, len(text))
        return Job(
            model,
            ids,
            options,
            _passed_on(request),
            tenant=tenant_of(request),
            progress=_progress(request),
            told=deque(),
        )

    async def from_codec(self, request: Request) -> tuple[CodecRequest, Job]:
        """Return a binary request, which has no room for a model's name, and its job.

        The model is the one in the query, or the one that speaks the client's map, or the default.

        Raises:
            HttpError: 400 or 404, with a remedy.
        """
        asked = await self._workers.run(partial(self._decode, request), len(request.body))
        stops = tuple(asked.stop or ())
        check_stops(stops, self._settings)
        sampling = SamplingOptions(temperature=asked.temperature, stop=stops)
        options = self._within(sampling, asked.max_tokens or None)  # protobuf has 0 for a field left out
        model = self._model(request.query.get("model"), request)
        require_map(request, model.vocabulary)
        return asked, await self.job(model, asked.prompt_ids, options, request)

    def _decode(self, request: Request) -> CodecRequest:
        try:
            return decode_request(
                request.body,
                format_of_content_type(request.content_type),
                max_request_bytes=self._settings.max_body,
                max_prompt_ids=self._settings.max_prompt_ids,
            )
        except ValueError as error:
            raise HttpError(400, f"the body cannot be read: {error}") from error

    def _model(self, name: str | None, request: Request) -> ServedModel:
        models = self._backend.models
        if name is None:
            held = request.headers.get("x-codec-map")
            return next((model for model in models if held and model.vocabulary.hash == held), models[0])
        return find_model(models, name)

    def _within(
        self, sampling: SamplingOptions, most: int | None, field: str = "max_tokens"
    ) -> SamplingOptions:
        """Return options whose numbers are in range, with the number of ids that the server allows."""
        check_sampling(sampling)
        return msgspec.structs.replace(sampling, max_tokens=self._limit(most, field))

    def _alternatives(self, body: CompletionBody) -> int | None:
        """Return how many alternatives are asked for with each id.

        Raises:
            HttpError: 400, too many, or the back end has no values.
        """
        asked = require_alternatives(body.alternatives, "logprobs")
        # A frame may come without values. A text form has fields for them, which would be empty.
        if body.stream_format is None and not getattr(self._backend, "gives_logprobs", False):
            raise HttpError(
                400,
                "this server has no logprobs; leave them out",
                code="unsupported_parameter",
                param="logprobs",
            )
        return asked

    def _limit(self, asked: int | None, field: str = "max_tokens") -> int:
        if asked is None:
            return self._settings.default_max_tokens
        if not 1 <= asked <= self._settings.max_tokens:
            raise HttpError(
                400, f"{field} must be 1 to {self._settings.max_tokens}, not {asked}", param=field
            )
        return asked

    # --- prompts ---

    async def job(
        self,
        model: ServedModel,
        prompt_ids: Sequence[int],
        options: SamplingOptions,
        request: Request,
        *,
        text: str | None = None,
        chat: ConversationRequest | None = None,
    ) -> Job:
        """Return the job of a prompt.

        Raises:
            HttpError: 400, the prompt is too long, or holds an id that the model does not have.
        """
        check = partial(self._check_prompt, model, prompt_ids, options, _field_of(chat))
        await self._workers.run(check, len(prompt_ids))
        headers, tenant, progress = _passed_on(request), tenant_of(request), _progress(request)
        return Job(model, prompt_ids, options, headers, text, chat, tenant=tenant, progress=progress)

    def _check_prompt(
        self, model: ServedModel, ids: Sequence[int], options: SamplingOptions, param: str
    ) -> None:
        if not ids:
            raise HttpError(400, "the prompt is empty", param=param)
        if len(ids) > self._settings.max_prompt_ids:
            limit = self._settings.max_prompt_ids
            raise HttpError(400, f"the prompt has {len(ids)} ids, the limit is {limit}", param=param)
        if model.context is not None and len(ids) + options.max_tokens > model.context:
            asked = f"{len(ids)} prompt ids and max_tokens {options.max_tokens}"
            raise HttpError(
                400,
                f"{asked} exceed the context of {model.context}",
                code="context_length_exceeded",
                param=param,
            )
        is_valid = model.vocabulary.is_valid
        for token in ids:
            if not is_valid(token):
                raise HttpError(400, f"token id {token} is out of vocabulary", param=param)


def _field_of(chat: ConversationRequest | None) -> str:
    """Return the name of the field that holds what the model is asked, in the API of the request."""
    if chat is None:
        return "prompt"
    from codec_agents.server.apis.prompts import conversation_field

    return conversation_field(chat)


def _passed_on(request: Request) -> dict[str, str]:
    return {name: request.headers[name] for name in PASSED_ON if name in request.headers}


def _progress(request: Request) -> Progress | None:
    asked = request.headers.get(PROGRESS_HEADER)
    if asked is None or asked in ("reasoning", "events"):
        return cast("Progress | None", asked)
    raise HttpError(
        400, f"{PROGRESS_HEADER} is reasoning or events, not {asked[:40]!r}", param=PROGRESS_HEADER
    )


def _require_one(count: int) -> None:
    if count != 1:
        raise HttpError(400, "n must be 1: a stream of ids has no choice index", param="n")


def _require_served(asked: ConversationRequest, *, forces_calls: bool) -> None:
    """Accept a request that asks for nothing that only a server in front of an engine has."""
    _require_one(asked.count)
    if asked.tool_choice == "required" and not forces_calls:
        raise HttpError(
            400, "tool_choice must be auto or none: no model is forced to call", param="tool_choice"
        )


def _require_no_earlier(asked: ConversationRequest) -> None:
    if asked.hints.previous_response_id is not None:
        raise HttpError(
            404,
            f"there is no response {asked.hints.previous_response_id[:200]!r}: this server keeps none; send "
            "the whole conversation as `input`",
            code="previous_response_not_found",
            param="previous_response_id",
        )


def find_model(models: Sequence[ServedModel], name: str) -> ServedModel:
    """Return the model of a name.

    Raises:
        HttpError: 404, no model has it.
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
