"""Stock engines without a model: they answer requests as the recordings of real servers do, quickly.

An imitation counts in words, goes on where its prompt ends, and keeps to what a request asks for: its limit,
its stop ids and stop texts, counts, cached ids, models that it does not have. `test_recordings` compares it
with what real servers answered.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary
from tests.agents.engines.stock_servers import DONE, SSE, event, head, read_http_request

JSON = {"content-type": "application/json"}
LLAMACPP_JSON = {"content-type": "application/json; charset=utf-8"}
MODEL = "smol"
CONTEXT = 2048
BLOCK = 128
"""Ids of a prompt are found in vLLM's cache by blocks; of this size where it runs on a CPU."""

WORDS = "One, two, three, four, five, six, seven, eight, nine, ten. Every number has a name."

Answer = tuple[int, dict[str, str], Iterable[bytes]]


@dataclass(frozen=True)
class Generated:
    """What the model that is not there writes."""

    ids: list[int]
    text: str
    finish: str
    matched: int | str | None
    prompt: list[int]
    cached: int


@dataclass
class Model:
    """Writes the same words after every prompt, and remembers prompts."""

    vocabulary: Vocabulary
    seen: dict[Any, list[list[int]]] = field(default_factory=dict)

    def generate(
        self,
        prompt: list[int],
        limit: int,
        *,
        stop_ids: Sequence[int] = (),
        stops: Sequence[str] = (),
        instead: str | None = None,
        only: Sequence[int] = (),
        salt: object = None,
    ) -> Generated:
        """Return the answer to a prompt, or what is left of it where the prompt has its beginning."""
        ends = self.vocabulary.special_tokens["<|im_end|>"]
        script = [*pick_tokenizer(self.vocabulary).encode_ordinary(instead or WORDS), ends]
        script = [*only[:1], *script]
        begun = next(n for n in range(len(script) - 1, -1, -1) if prompt[len(prompt) - n :] == script[:n])
        ids: list[int] = []
        text, finish, matched = "", "length", None
        for token in script[begun:][:limit]:
            ids.append(token)
            text = detokenize(self.vocabulary, [i for i in ids if i != ends])
            hit = next((stop for stop in stops if stop in text), None)
            if hit is not None:
                text, finish, matched = text[: text.index(hit)], "stop", hit
            elif token in (ends, *stop_ids):
                finish, matched = "stop", None if token == ends else token
            if finish == "stop":
                break
        return Generated(ids, text, finish, matched, prompt, self._cached(prompt, salt))

    def _cached(self, prompt: list[int], salt: object) -> int:
        before = self.seen.setdefault(salt, [])
        found = max((common(prompt, other) for other in before), default=0)
        before.append(prompt)
        return min(found, len(prompt) - 1) // BLOCK * BLOCK


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many ids two prompts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def refusal(status: int, message: str, kind: str = "BadRequestError", **more: Any) -> Answer:
    """Return an error as the engines write it."""
    error = {"message": message, "type": kind, "param": None, "code": status, **more}
    return status, JSON, [json.dumps({"error": error}).encode()]


# --- vLLM ---

VLLM_USAGE = ("prompt_tokens", "total_tokens", "completion_tokens")


def counts(made: Generated, *, cached: bool) -> dict[str, Any]:
    """Return `usage`; how many ids were cached where the server reports that."""
    numbers = (len(made.prompt), len(made.prompt) + len(made.ids), len(made.ids))
    details = {"prompt_tokens_details": {"cached_tokens": made.cached}} if cached else {}
    return {**dict(zip(VLLM_USAGE, numbers, strict=True)), **details}


def wanted(structured: Any) -> str | None:
    """Return an answer of the form that is asked for; None for any."""
    if not structured:
        return None
    if "choice" in structured:
        return str(structured["choice"][0])
    return "yes" if "regex" in structured or "grammar" in structured else '{"city": "Oslo"}'


def only_ids(fields: Any) -> list[int]:
    """Return the only ids that may be drawn, in whichever form; the last of them is drawn first."""
    bias = fields.get("logit_bias", ())
    pairs = bias.items() if isinstance(bias, dict) else bias
    return list(reversed(fields.get("allowed_token_ids") or [int(token_id) for token_id, _ in pairs]))


def completions(model: Model, *, is_vllm: bool) -> Callable[[Any], Answer]:
    """`/v1/completions` of vLLM and SGLang."""

    def answer(asked: Any) -> Answer:
        if is_vllm and asked.get("model", MODEL) != MODEL:
            return unknown_model(asked["model"])
        prompt = asked["prompt"]
        if len(prompt) >= CONTEXT:
            return too_long(prompt, is_vllm=is_vllm)
        form = asked.get("structured_outputs") or {k: asked[k] for k in ("regex", "ebnf") if k in asked}
        schema = asked.get("response_format", {}).get("json_schema")
        made = model.generate(
            prompt,
            asked["max_tokens"],
            stop_ids=asked.get("stop_token_ids", ()),
            stops=asked.get("stop", ()),
            instead=wanted(form or ({"json": schema} if schema else None)),
            only=only_ids(asked),
            salt=asked.get("cache_salt"),
        )
        common = {"id": "cmpl-1", "object": "text_completion", "created": 1795999262, "model": MODEL}
        usage = counts(made, cached=is_vllm)
        choice_of = vllm_choice if is_vllm else sglang_choice
        if not asked["stream"]:
            whole = choice_of(made, made.ids, ends=True, text=made.text, prompt=prompt)
            return 200, JSON, [json.dumps({**common, "choices": [whole], "usage": usage}).encode()]
        choices = [
            choice_of(made, [token], ends=n == len(made.ids), prompt=prompt if n == 1 else None)
            for n, token in enumerate(made.ids, 1)
        ]
        events = [event({**common, "choices": [choice]}) for choice in choices]
        return 200, SSE, [*events, event({**common, "choices": [], "usage": usage}), DONE]

    return answer


def vllm_choice(made: Generated, ids: list[int], *, ends: bool, prompt: Any, text: str = "x") -> Any:
    """Return one choice of completions."""
    return {
        "index": 0, "text": text, "logprobs": None, "finish_reason": made.finish if ends else None,
        "stop_reason": made.matched if ends else None, "prompt_token_ids": prompt, "token_ids": ids,
    }  # fmt: skip


def sglang_choice(made: Generated, ids: list[int], *, ends: bool, prompt: Any, text: str = "x") -> Any:
    """Return one choice of SGLang's completions, which names the end of the turn as well."""
    matched = made.matched or made.ids[-1] if made.finish == "stop" else None
    first = {} if prompt is None else {"prompt_token_ids": prompt}
    return {
        "index": 0, "text": text, "logprobs": None, "finish_reason": made.finish if ends else None,
        "matched_stop": matched if ends else None, "token_ids": ids, **first,
    }  # fmt: skip


def too_long(prompt: list[int], *, is_vllm: bool) -> Answer:
    """Return a refusal of a prompt; SGLang's has no `error` around it."""
    said = f"This model's maximum context length is {CONTEXT} tokens, the prompt has {len(prompt)}"
    if is_vllm:
        return refusal(400, said, param="input_tokens")
    error = {"object": "error", "message": said, "type": "BadRequestError", "param": None, "code": 400}
    return 400, JSON, [json.dumps(error).encode()]


def vllm_generate(model: Model, *, cached: bool = True) -> Callable[[Any], Answer]:
    """`/inference/v1/generate`. A prompt that is too long is an error in the stream."""

    def answer(asked: Any) -> Answer:
        if asked.get("model", MODEL) != MODEL:
            return unknown_model(asked["model"])
        prompt, params = asked["token_ids"], asked["sampling_params"]
        if len(prompt) >= CONTEXT:
            said = f"The decoder prompt (length {len(prompt)}) is longer than the maximum of {CONTEXT}"
            error = {"message": said, "type": "BadRequestError", "param": None, "code": 400}
            return 200, SSE, [event({"error": error}), DONE]
        made = model.generate(
            prompt,
            params["max_tokens"],
            stop_ids=params.get("stop_token_ids", ()),
            stops=params.get("stop", ()),
            instead=wanted(params.get("structured_outputs")),
            only=only_ids(params),
            salt=asked.get("cache_salt"),
        )
        usage = counts(made, cached=cached)
        common = {"request_id": "generate-tokens-1", "usage": None, "output_mode": "tokens"}
        if not asked["stream"]:
            whole = generate_choice(made, made.ids, ends=True)
            document = {**common, "model": MODEL, "created": 1, "usage": usage, "choices": [whole]}
            return 200, JSON, [json.dumps({**document, "prompt_token_ids": None}).encode()]
        events = [
            event({**common, "choices": [generate_choice(made, [token], ends=n == len(made.ids))]})
            for n, token in enumerate(made.ids, 1)
        ]
        return 200, SSE, [*events, event({**common, "usage": usage, "choices": []}), DONE]

    return answer


def generate_choice(made: Generated, ids: list[int], *, ends: bool) -> Any:
    """Return one choice of the generate call."""
    versions = [{"version": "default", "start": 0, "end": len(made.ids)}] if ends else None
    return {
        "index": 0, "finish_reason": made.finish if ends else None,
        "stop_reason": made.matched if ends else None, "token_ids": ids, "routed_experts": None,
        "sampling_mask": None, "weight_versions": versions, "logprobs": None,
    }  # fmt: skip


def unknown_model(name: str) -> Answer:
    """Return vLLM's refusal of a model that it does not serve."""
    said = f"The model `{name}` does not exist. Valid aliases: {MODEL}."
    return refusal(404, said, "NotFoundError", param="model")


def tokenize(vocabulary: Vocabulary, *, checks_model: bool) -> Callable[[Any], Answer]:
    """`/tokenize` of vLLM and SGLang with a text. It reads control tokens."""

    def answer(asked: Any) -> Answer:
        if checks_model and asked.get("model", MODEL) != MODEL:
            return unknown_model(asked["model"])
        ids = pick_tokenizer(vocabulary).encode(asked["prompt"])
        found = {"count": len(ids), "max_model_len": CONTEXT, "tokens": ids, "token_strs": None}
        return 200, JSON, [json.dumps(found).encode()]

    return answer


# --- llama.cpp ---


def llamacpp_completion(model: Model) -> Callable[[Any], Answer]:
    """`/completion`. It knows no stop ids; models' names are ignored."""

    def answer(asked: Any) -> Answer:
        prompt = asked["prompt"]
        if len(prompt) >= CONTEXT:
            said = f"request ({len(prompt)} tokens) exceeds the available context size ({CONTEXT} tokens)"
            error = {"code": 400, "message": said, "type": "exceed_context_size_error"}
            document = {"error": {**error, "n_prompt_tokens": len(prompt), "n_ctx": CONTEXT}}
            return 400, LLAMACPP_JSON, [json.dumps(document).encode()]
        form = {key: asked[key] for key in ("grammar", "json_schema") if key in asked}
        stops, only = asked.get("stop", ()), only_ids(asked)
        made = model.generate(prompt, asked["n_predict"], stops=stops, instead=wanted(form), only=only)
        kind = {"length": "limit"}.get(made.finish, "word" if made.matched else "eos")
        last = {
            "index": 0, "content": "", "tokens": [], "id_slot": 0, "stop": True, "model": "smollm2.gguf",
            "tokens_predicted": len(made.ids), "tokens_evaluated": len(prompt), "generation_settings": {},
            "prompt": "", "has_new_line": False, "truncated": False, "stop_type": kind,
            "stopping_word": made.matched or "", "tokens_cached": len(prompt) + len(made.ids) - 1,
            "timings": {"cache_n": made.cached, "prompt_n": len(prompt) - made.cached, "prompt_ms": 1.0},
        }  # fmt: skip
        if not asked["stream"]:
            whole = {**last, "content": made.text, "tokens": made.ids}
            return 200, LLAMACPP_JSON, [json.dumps(whole).encode()]
        # What completes a stop text is counted, and has no event of its own.
        shown = made.ids[:-1] if kind == "word" else made.ids
        events = [event(llamacpp_partial(model, token, n, prompt)) for n, token in enumerate(shown, 1)]
        return 200, {"content-type": "text/event-stream"}, [*events, event(last)]

    return answer


def llamacpp_partial(model: Model, token: int, count: int, prompt: list[int]) -> Any:
    """Return the event of one id."""
    said = "" if token in model.vocabulary.special_ids else detokenize(model.vocabulary, [token])
    return {
        "index": 0, "content": said, "tokens": [token], "stop": False, "id_slot": -1,
        "tokens_predicted": count, "tokens_evaluated": len(prompt),
    }  # fmt: skip


def llamacpp_tokenize(vocabulary: Vocabulary) -> Callable[[Any], Answer]:
    """`/tokenize`, which reads control tokens where it is told to."""

    def answer(asked: Any) -> Answer:
        tokenizer = pick_tokenizer(vocabulary)
        encode = tokenizer.encode if asked["parse_special"] else tokenizer.encode_ordinary
        return 200, LLAMACPP_JSON, [json.dumps({"tokens": encode(asked["content"])}).encode()]

    return answer


# --- SGLang ---


def sglang_generate(model: Model) -> Callable[[Any], Answer]:
    """`/generate`: every event repeats all ids."""

    def answer(asked: Any) -> Answer:
        prompt, params = asked["input_ids"], asked["sampling_params"]
        if len(prompt) >= CONTEXT:
            said = f"The input ({len(prompt)} tokens) is longer than the model's context length ({CONTEXT})."
            error = {"message": said, "type": "invalid_request_error", "code": 400, "retryable": False}
            return 200, SSE, [event({"error": error}), DONE]
        made = model.generate(
            prompt,
            params["max_new_tokens"],
            stop_ids=params.get("stop_token_ids", ()),
            stops=params.get("stop", ()),
            instead=wanted({key: params[key] for key in ("regex", "json_schema", "ebnf") if key in params}),
            only=only_ids(params),
            salt=asked.get("cache_salt"),
        )
        finish: Any = {"type": "length", "length": params["max_new_tokens"]}
        if made.finish == "stop":
            finish = {"type": "stop", "matched": made.matched or made.ids[-1]}

        def document(n: int) -> Any:
            meta = {
                "id": "rid", "finish_reason": finish if n == len(made.ids) else None,
                "prompt_tokens": len(prompt), "weight_version": "default", "num_retractions": 0,
                "completion_tokens": n, "cached_tokens": made.cached,
            }  # fmt: skip
            return {"text": made.text, "output_ids": made.ids[:n], "meta_info": meta}

        if not asked.get("stream"):
            return 200, JSON, [json.dumps(document(len(made.ids))).encode()]
        first = min(1, len(made.ids))  # an answer without ids has the event of its end
        return 200, SSE, [*(event(document(n)) for n in range(first, len(made.ids) + 1)), DONE]

    return answer


# --- servers ---


def routes(engine: str, vocabulary: Vocabulary) -> dict[str, Callable[[Any], Answer]]:
    """Return the calls of an engine."""
    model = Model(vocabulary)
    if engine == "llamacpp":
        return {
            "/completion": llamacpp_completion(model),
            "/tokenize": llamacpp_tokenize(vocabulary),
            "/props": document({"default_generation_settings": {"n_ctx": CONTEXT}, "total_slots": 4}),
        }
    is_vllm = engine == "vllm"
    calls = {
        "/tokenize": tokenize(vocabulary, checks_model=is_vllm),
        "/v1/models": document({"object": "list", "data": [{"id": "m", "max_model_len": CONTEXT}]}),
        "/v1/completions": completions(model, is_vllm=is_vllm),
    }
    own = (
        {"/inference/v1/generate": vllm_generate(model)} if is_vllm else {"/generate": sglang_generate(model)}
    )
    return {**calls, **own}


def document(content: Any) -> Callable[[Any], Answer]:
    """Return a call that answers with this."""
    return lambda _: (200, JSON, [json.dumps(content).encode()])


@contextmanager
def imitation(engine: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Serve an imitation of an engine; give its origin."""
    calls = routes(engine, vocabulary)
    lock = threading.Lock()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            request = read_http_request(connection)
            if request is None:
                return
            path, body = request[0].split()[1], request[2]
            if path not in calls:
                connection.sendall(head(404, JSON.items()) + b'{"detail":"Not Found"}')
                return
            with lock:
                status, headers, pieces = calls[path](json.loads(body or b"null"))
            connection.sendall(head(status, headers.items()) + b"".join(pieces))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(5)
