"""Record what real servers answer, byte by byte: `python -m tests.real_engines record vllm`.

The recordings (`tests/vectors/engines/NAME.json`) are what parsers are tested with, and what the imitations
of these servers are compared with, in the quick suite.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.real_engines.models import smollm2_map
from tests.real_engines.places import REPOSITORY

FOLDER = REPOSITORY / "tests" / "vectors" / "engines"
MODEL = "smol"
PATHS = {
    "vllm completions": "/v1/completions",
    "vllm generate": "/inference/v1/generate",
    "sglang completions": "/v1/completions",
    "sglang generate": "/generate",
    "llamacpp": "/completion",
}
VERSIONS = {"vllm": "/version", "sglang": "/server_info", "llamacpp": "/props"}

QUESTION = "Count from one to five."
BEGUN, ENDED = "One,", "One, two, three, four, five."
"""The beginning of the answer, which leaves little doubt about the rest; and all of it but its end."""

SECONDS = 120


class Exchange(NamedTuple):
    """A request, and the bytes that came back."""

    name: str
    path: str
    request: Any
    status: int
    content_type: str
    body: str


def smollm2() -> Vocabulary:
    """Return the vocabulary of the recorded model."""
    return vocabulary_of(read_map(smollm2_map()))


def prompt_ids(vocabulary: Vocabulary, answer: str = BEGUN) -> list[int]:
    """Return the prompt of every recording."""
    text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{answer}"
    return pick_tokenizer(vocabulary).encode(text)


def body(kind: str, prompt: list[int], limit: int = 5, *, stream: bool = True, **options: Any) -> Any:
    """Return a request in an engine's own words; `options` are already in them."""
    counts = {"stream_options": {"include_usage": True}} if stream else {}
    if kind == "vllm generate":
        params = {"temperature": 0.0, "max_tokens": limit, "detokenize": "stop" in options, **options}
        return {"model": MODEL, "token_ids": prompt, "sampling_params": params, "stream": stream, **counts}
    if kind == "sglang generate":
        params = {"temperature": 0.0, "max_new_tokens": limit, **options}
        return {"input_ids": prompt, "sampling_params": params, "stream": stream}
    if kind == "llamacpp":
        common = {"return_tokens": True, "cache_prompt": True, "temperature": 0.0, **options}
        return {"prompt": prompt, "n_predict": limit, "stream": stream, **common}
    common = {"model": MODEL, "return_token_ids": True, "temperature": 0.0, **counts, **options}
    return {"prompt": prompt, "max_tokens": limit, "stream": stream, **common}


def requests(kind: str, vocabulary: Vocabulary) -> dict[str, tuple[str, Any]]:
    """Return each request's path and body, by a name."""
    prompt, path = prompt_ids(vocabulary), PATHS[kind]
    ended = prompt_ids(vocabulary, ENDED)
    three = pick_tokenizer(vocabulary).encode(" three")[0]
    bodies = {
        "limit": body(kind, prompt),
        "whole": body(kind, prompt, stream=False),
        "end of turn": body(kind, ended, 8),
        "stop text": body(kind, prompt, 12, stop=[" three"]),
        "too long": body(kind, prompt * 400),
    }
    if not kind.startswith("sglang"):  # it checks no ids, and what is outside of the vocabulary may end it
        bodies["unknown id"] = body(kind, [*prompt, 60_000])
    if kind != "llamacpp":
        bodies["stop id"] = body(kind, prompt, 12, stop_token_ids=[three])
    if kind in ("vllm completions", "vllm generate"):
        bodies["wrong model"] = {**body(kind, prompt), "model": "other"}
    return {name: (path, document) for name, document in bodies.items()}


def further(engine: str, vocabulary: Vocabulary) -> dict[str, tuple[str, Any]]:
    """Return the requests that an engine takes whatever its API."""
    messages = [{"role": "user", "content": QUESTION}]
    if engine == "llamacpp":
        text = {"content": f"<|im_end|>{QUESTION}", "add_special": False, "parse_special": True}
        return {
            "tokenize": ("/tokenize", text),
            "tokenize content": ("/tokenize", {**text, "parse_special": False}),
            "template": ("/apply-template", {"messages": messages}),
            "chat": ("/v1/chat/completions", {"messages": messages, "max_tokens": 4, "stream": True}),
        }
    text = {"model": MODEL, "prompt": f"<|im_end|>{QUESTION}", "add_special_tokens": False}
    chat = {"model": MODEL, "messages": messages, "max_tokens": 4, "stream": True, "temperature": 0.0}
    return {
        "tokenize": ("/tokenize", text),
        "tokenize wrong model": ("/tokenize", {**text, "model": "other"}),
        "template": ("/tokenize", {"model": MODEL, "messages": messages, "add_generation_prompt": True}),
        "chat": ("/v1/chat/completions", chat),
    }


def ask(url: str, name: str, path: str, document: Any) -> Exchange:
    """Ask once."""
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        answer = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return Exchange(
            name, path, document, answer.status, answer.headers["content-type"] or "", answer.read().decode()
        )


def version(engine: str, url: str) -> str:
    """Return the version that a server tells."""
    told = json.loads(ask(url, "version", VERSIONS[engine], None).body)
    return str(told.get("version") or told.get("build_info"))


def record(engine: str, url: str) -> Path:
    """Ask a server, and write what it answered."""
    vocabulary = smollm2()
    kinds = {kind: requests(kind, vocabulary) for kind in PATHS if kind.partition(" ")[0] == engine}
    kinds[engine] = {**kinds.get(engine, {}), **further(engine, vocabulary)}
    exchanges: Mapping[str, list[dict[str, Any]]] = {
        kind: [shortened(ask(url, name, path, document)) for name, (path, document) in named.items()]
        for kind, named in kinds.items()
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{engine}.json"
    whole = {"engine": engine, "version": version(engine, url), **exchanges}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


LONG = 64


def shortened(exchange: Exchange) -> dict[str, Any]:
    """Return an exchange as it is kept: of a prompt that is too long, its beginning."""
    found = exchange._asdict()
    for field in ("prompt", "token_ids", "input_ids"):
        value = (exchange.request or {}).get(field)
        if isinstance(value, list) and len(value) > LONG:
            found["request"] = {**exchange.request, field: [*value[:LONG], f"... {len(value)} ids"]}
    return found
