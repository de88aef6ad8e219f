"""Servers that behave as the documented engines do, byte by byte, faults included, on real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self


def head(status: int, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the head of an answer; without a length, the end of the connection ends the body."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
    if not any(name == "content-length" for name, _ in headers):
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawServer:
    """Sends these bytes to whoever asks anything, then closes. Works under any event loop: it is a thread.

    `pieces` are sent one by one; a callable among them is called (to wait, or to fail).
    """

    def __init__(self, *pieces: bytes | Callable[[socket.socket], None]) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._stopped = threading.Event()

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        read_http_request(connection)
        for piece in self._pieces:
            if callable(piece):
                piece(connection)
            else:
                connection.sendall(piece)


def read_http_request(connection: socket.socket) -> tuple[str, dict[str, str], bytes] | None:
    """Return the request line, the headers and the body; None when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    raw_head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = raw_head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return line, headers, body


@dataclass
class StockServer:
    """An engine's API on real sockets: routes by path, each giving (status, headers, pieces of the body).

    Runs in threads, so that it works under any event loop. Every connection serves one request.
    """

    routes: dict[str, Callable[[Any], tuple[int, dict[str, str], Iterable[bytes]]]]
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [path for path, _, _ in self.seen]

    def _accept(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._answer(connection)
            except OSError:
                return

    def _answer(self, connection: socket.socket) -> None:
        request = read_http_request(connection)
        if request is None:
            return
        line, headers, body = request
        path = line.split()[1]
        document = json.loads(body) if body else None
        self.seen.append((path, headers, document))
        route = self.routes.get(path)
        if route is None:
            connection.sendall(head(404, [("content-type", "application/json")]) + b'{"detail":"Not Found"}')
            return
        status, extra, pieces = route(document)
        connection.sendall(head(status, extra.items()))
        for piece in pieces:
            connection.sendall(piece)


SSE = {"content-type": "text/event-stream; charset=utf-8"}
DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def tokenize_route(tokenizer: Any, text_field: str = "prompt") -> Callable[[Any], Any]:
    """The `/tokenize` call of vLLM and SGLang (`prompt`), or of llama.cpp (`content`)."""

    def answer(asked: Any) -> Any:
        ids = tokenizer.encode(asked[text_field])
        body = {"count": len(ids), "max_model_len": 4096, "tokens": ids}
        return 200, {"content-type": "application/json"}, [json.dumps(body).encode()]

    return answer


# --- vLLM ---


def vllm_event(
    ids: Any = None, *, prompt: Any = None, finish: Any = None, stop: Any = None, text: str = "x"
) -> Any:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": stop}
    if prompt is not None:
        choice["prompt_token_ids"] = prompt
    if ids is not ...:
        choice["token_ids"] = ids
    return {"id": "cmpl-1", "object": "text_completion", "created": 1762, "model": "m", "choices": [choice]}


def usage_event(prompt: int, completion: int) -> Any:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt - 1},
    }
    return {"id": "cmpl-1", "object": "text_completion", "choices": [], "usage": usage}


def vllm_completions(ids: list[int], *, finish: str = "stop", stop: Any = None) -> Callable[[Any], Any]:
    """`/v1/completions` with return_token_ids: several ids a chunk, empty chunks, keep-alives, usage."""

    def answer(asked: Any) -> Any:
        prompt = asked["prompt"]
        pieces = [
            event(vllm_event(ids[:1], prompt=prompt)),
            b": keep-alive\n\n",
            event(vllm_event([])) + event(vllm_event(None)),
            event(vllm_event(ids[1:3])) + event(vllm_event(ids[3:-1])),
            event(vllm_event(ids[-1:], finish=finish, stop=stop, text="")),
            event(usage_event(len(prompt), len(ids))),
            DONE,
        ]
        return 200, SSE, pieces

    return answer


def vllm_generate(ids: list[int]) -> Callable[[Any], Any]:
    """`/inference/v1/generate`, streaming."""

    def chunk(some: list[int], finish: Any = None) -> bytes:
        choice = {
            "index": 0,
            "finish_reason": finish,
            "stop_reason": None,
            "token_ids": some,
            "logprobs": None,
        }
        document = {
            "request_id": "generate-tokens-1",
            "usage": None,
            "output_mode": "tokens",
            "choices": [choice],
        }
        return event(document)

    def answer(asked: Any) -> Any:
        usage = {
            "request_id": "r",
            "choices": [],
            "usage": usage_event(len(asked["token_ids"]), len(ids))["usage"],
        }
        return 200, SSE, [chunk(ids[:2]), chunk(ids[2:], "stop"), event(usage), DONE]

    return answer


def refusing(status: int) -> Callable[[Any], Any]:
    body = json.dumps({"error": {"message": "no", "type": "PermissionDeniedError", "code": status}}).encode()
    return lambda _asked: (status, {"content-type": "application/json"}, [body])


# --- SGLang ---


def sglang_event(ids: Any, total: int, *, finish: Any = None, prompt: int = 7) -> Any:
    meta = {
        "id": "rid",
        "finish_reason": finish,
        "prompt_tokens": prompt,
        "weight_version": "default",
        "num_retractions": 0,
        "completion_tokens": total,
        "cached_tokens": 2,
        "e2e_latency": 0.1,
    }
    return {"text": "..", "output_ids": ids, "meta_info": meta}


def sglang_generate(ids: list[int], *, cumulative: bool = True, cuts: tuple[int, ...] = (1, 3, 4)) -> Any:
    """`/generate`: every event repeats all ids, or holds the new ones; coalesced under load."""

    def answer(_asked: Any) -> Any:
        pieces, begun = [], 0
        for cut in (*cuts, len(ids)):
            part = ids[:cut] if cumulative else ids[begun:cut]
            finish = {"type": "stop", "matched": ids[-1]} if cut == len(ids) else None
            pieces.append(event(sglang_event(part, cut, finish=finish)))
            begun = cut
        return 200, SSE, [*pieces, DONE]

    return answer


# --- llama.cpp ---


def llamacpp_completion(vocabulary: Any, ids: list[int], *, stop_type: str = "eos") -> Callable[[Any], Any]:
    """`/completion`: one id an event, except that ids of an incomplete character are kept back and lost."""

    def answer(asked: Any) -> Any:
        prompt, wanted = asked["prompt"], ids[: asked["n_predict"]]
        final = {
            "index": 0,
            "content": "",
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": "m",
            "tokens_predicted": len(wanted),
            "tokens_evaluated": len(prompt),
            "truncated": False,
            "stop_type": stop_type,
            "stopping_word": "",
            "timings": {"cache_n": 3, "prompt_n": 4, "prompt_ms": 12.5},
        }
        if not asked["stream"]:
            whole = {**final, "tokens": wanted}
            return 200, {"content-type": "application/json"}, [json.dumps(whole).encode()]
        return (
            200,
            {"content-type": "text/event-stream"},
            [*_llamacpp_events(vocabulary, wanted), event(final)],
        )

    return answer


def _llamacpp_events(vocabulary: Any, ids: list[int]) -> Iterable[bytes]:
    held = b""
    for number, token in enumerate(ids, 1):
        held += b"" if token in vocabulary.special_ids else vocabulary.token_bytes(token)
        try:
            content = held.decode()
        except UnicodeDecodeError:
            continue
        held = b""
        yield event(
            {
                "index": 0,
                "content": content,
                "tokens": [token],
                "stop": False,
                "id_slot": -1,
                "tokens_predicted": number,
                "tokens_evaluated": 7,
            }
        )
