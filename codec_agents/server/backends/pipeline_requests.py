"""The request of a client in the terms of a served pipeline: the text of its input, and where a chat goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codec_agents.exceptions import PromptError
from codec_agents.server.apis.families import dialect_of
from codec_agents.server.backends.backend import Job
from codec_agents.server.http import HttpError
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect
    from codec_agents.dialects.messages import ReadPrompt
    from codec_agents.graph.serving import ServeSpec
    from codec_agents.server.apis.request import ConversationRequest, OfferedTool
    from codec_agents.server.gateway.history import History

NODES_OWN = (
    "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "min_tokens", "logprobs", "structured",
)  # fmt: skip
"""Sampling that would have to be ignored: it is of one model, and a pipeline has several."""

MAX_TEXT = 256 * 1024
"""Characters of what a client asks, by default. A run encodes its prompts on the event loop, for each node
anew."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, in the pipeline's terms.

    Fields:
        question: the text of the input; None where the client sends results of calls.
        system: the client's system text.
        tools: the client's tools.
        results: the results of the calls with which the last answer ended, in the order of the calls.
        place: the place of the last answer in `history`; None at the beginning of a conversation.
        history: the conversation with its keys; None for a request that is no chat.
        field: the API's name of the field that holds the question, for errors.
    """

    question: str | None
    system: str | None = None
    tools: Sequence[OfferedTool] = ()
    results: Sequence[str] = ()
    place: int | None = None
    history: History | None = None
    field: str = "prompt"


def read_asked(
    job: Job, serve: ServeSpec, digest: str, dialect: BoundDialect | None, *, max_text: int = MAX_TEXT
) -> Asked:
    """Return what a job asks.

    Args:
        job: the request.
        serve: the places of a chat's parts.
        digest: names the pipeline's declaration; conversations of others are no history of it.
        dialect: of one of its models; None where it has none.
        max_text: characters of what a client asks.

    Raises:
        HttpError: 400, the request holds what the pipeline has no use for, or is too long.
    """
    for option in NODES_OWN:
        if getattr(job.options, option) is not None:
            raise no_use(option, f"the request sets {option}, and the nodes have their own")
    asked = (
        Asked(_asked_in_prompt_of(job))
        if job.chat is None
        else _read_chat(job.chat, job.tenant, serve, digest, dialect)
    )
    for text in (asked.question or "", asked.system or "", *asked.results):
        if len(text) > max_text:
            raise HttpError(
                400, f"the text has {len(text)} characters, the limit is {max_text}", param=asked.field
            )
    return asked


def _asked_in_prompt_of(job: Job) -> str:
    """Return the one text that a pipeline has use for; refuse a request that holds more."""
    vocabulary = job.model.vocabulary
    if job.text is not None and vocabulary.special_ids.isdisjoint(job.prompt_ids):
        return job.text
    dialect = dialect_of(vocabulary)
    if dialect is None or vocabulary.special_ids.isdisjoint(job.prompt_ids):
        return Detokenizer(vocabulary).render(job.prompt_ids)
    text = _asked_in_prompt(dialect.read(job.prompt_ids), dialect.dialect.default_system)
    # Content that was encoded by itself, as a slot of a prompt is, begins with a space of its own.
    return text.removeprefix(" ") if vocabulary.trims_first_space else text


def _asked_in_prompt(prompt: ReadPrompt, default_system: str | None) -> str:
    """Return the user's message of a prompt in ids. The system text that a family adds by itself is none."""
    # A prompt ends with the opening of the answer, which is read as an empty turn of the assistant.
    said = [
        message
        for message in prompt.messages
        if (message.role, message.content) not in (("system", default_system), ("assistant", ""))
    ]
    if prompt.tools is not None:
        raise no_use("prompt", "the prompt declares tools")
    if len(said) != 1 or said[0].role != "user":
        roles = ", ".join(message.role for message in said) or "none"
        raise no_use("prompt", f"the roles of the messages in the prompt are {roles}")
    return said[0].content


def _read_chat(
    chat: ConversationRequest, tenant: bytes, serve: ServeSpec, digest: str, dialect: BoundDialect | None
) -> Asked:
    from codec_agents.server.apis.prompts import conversation_field

    field = conversation_field(chat)
    if chat.offered_tools and serve.tools is None:
        raise no_use("tools", "the request offers tools, and the pipeline says of no model that it has them")
    if chat.thinking is not None:
        raise no_use("thinking", "reasoning is turned on or off, and the models of a pipeline have their own")
    messages = list(chat.messages)
    system = messages.pop(0).content if messages[0].role == "system" else None
    if system is not None and serve.system is None:
        raise no_use(
            field, f"{field}[0] has the role 'system', and the pipeline says of no model that it has it"
        )
    last = next(
        (place for place in reversed(range(len(messages))) if messages[place].role == "assistant"), None
    )
    behind = messages if last is None else messages[last + 1 :]
    history = None if dialect is None else _history(chat, tenant, digest, dialect, field)
    if last is not None and history is None:
        raise no_use(field, "the request holds earlier messages, and no model of the pipeline has a memory")
    asked = Asked(None, system, chat.offered_tools, (), last, history, field)
    if behind and last is not None and all(message.role == "tool" for message in behind):
        # The history has them in the order of their calls; a client need not.
        assert history is not None
        return replace(asked, results=[message.content for message in history.messages[last + 1 :]])
    if [message.role for message in behind] != ["user"]:
        roles = ", ".join(message.role for message in behind) or "none"
        raise no_use(
            field,
            f"the roles of the messages behind the last answer are {roles}; a pipeline takes one user "
            "message, or the results of its calls",
        )
    return replace(asked, question=behind[0].content)


def _history(
    chat: ConversationRequest, tenant: bytes, digest: str, dialect: BoundDialect, field: str
) -> History:
    from codec_agents.server.gateway.history import Asked as AskedOfHistory
    from codec_agents.server.gateway.history import history_of

    try:
        return history_of(AskedOfHistory(tenant, digest, chat.messages, chat.offered_tools), dialect)
    except PromptError as error:
        raise HttpError(400, str(error), param=field) from error


def no_use(param: str, found: str) -> HttpError:
    """Return the refusal of what the pipeline would drop: a client must not believe that it was heeded."""
    return HttpError(
        400,
        f"{found}: a served pipeline has its own prompts and tools",
        code="unsupported_parameter",
        param=param,
    )
