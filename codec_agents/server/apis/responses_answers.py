"""Answers of `POST /v1/responses`: a `response`, or the events that build it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.server.answers import EVENTS, FAILED, FAILURES, named_event
from codec_agents.server.apis.turn import RANDOM, Block, Kind, Mint, Step, Turn, progress_events
from codec_agents.server.backends.backend import Job
from codec_agents.server.logprobs import Logprobs
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.server.apis.request import ConversationRequest, OfferedTool

PREFIXES: Mapping[Kind, str] = {"reasoning": "rs_", "text": "msg_", "call": "call_"}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is not whole, in the API's words, by the reasons of OpenAI's chats."""


class ResponsesForm:
    """The common part of both forms."""

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        self.turn = Turn(job, tools=bool(asked.offered_tools), mint=mint, prefixes=PREFIXES)
        self._asked = asked
        self._job = job
        self._mint = mint
        self._call_items: dict[int, str] = {}
        self._tokens: dict[int, str] = {}
        self._logprobs = None if asked.logprobs is None else Logprobs(job, asked.logprobs)
        self._entries: list[dict[str, Any]] = []
        """Of each id so far, whatever its lane."""
        self._of_blocks: dict[int, list[dict[str, Any]]] = {}
        """Of the ids of each block of text."""
        self._base = self._begun(mint("resp_"))

    def _begun(self, response_id: str) -> dict[str, Any]:
        """Return the fields that are the same from the first event to the last."""
        asked, sampling = self._asked, self._asked.sampling
        return {
            "id": response_id,
            "object": "response",
            "created_at": int(time.time()),
            "model": self._job.model.name,
            "background": False,
            "parallel_tool_calls": asked.parallel_calls,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_output_tokens": asked.max_tokens,
            "tool_choice": self._tool_choice(),
            "tools": [_tool(tool) for tool in asked.tools],
            "previous_response_id": asked.hints.previous_response_id,
            # Only a gateway, which records its jobs, can continue a response by its id.
            "store": self._job.recorder is not None and asked.store,
            "truncation": "disabled",
            **asked.echo,
        }

    def _tool_choice(self) -> Any:
        if self._asked.tool_name is not None:
            return {"type": "function", "name": self._asked.tool_name}
        return self._asked.tool_choice

    def document(self, status: str) -> dict[str, Any]:
        """Return the response as it is now."""
        # The first events of this API have neither output nor counts, even empty ones of items begun.
        over = status != "in_progress"
        reason = INCOMPLETE.get(self.turn.reason) if status == "incomplete" else None
        return {
            **self._base,
            "status": status,
            "output": [self.item(block) for block in self.turn.blocks] if over else [],
            "usage": self.usage if over else None,
            "error": FAILED_RESPONSE if status == "failed" else None,
            "incomplete_details": None if reason is None else {"reason": reason},
        }

    def steps(self, frame: CodecFrame) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
        """Yield the steps of a frame, each with the log probabilities of the ids that its text is of."""
        if self._logprobs is not None:
            self._entries += self._logprobs.content(frame)
        for step in self.turn.feed(frame):
            found = self._taken(step) if self._logprobs is not None and step.block.kind == "text" else []
            yield step, found

    def _taken(self, step: Step) -> list[dict[str, Any]]:
        """Return the entries of the answer's ids up to the end of a step's text that no step had before."""
        spans, found = self.turn.lanes.answer_spans, self._of_blocks.setdefault(step.block.place, [])
        known = len(found)
        while spans and spans[0][0] < step.stop:
            start, stop = spans.pop(0)
            found += self._entries[start : min(stop, step.stop)]
            if stop > step.stop:
                spans.insert(0, (step.stop, stop))
        return found[known:]

    @property
    def usage(self) -> dict[str, Any]:
        """The API's counts."""
        prompt, answer = len(self._job.prompt_ids), self.turn.ids
        return {
            "input_tokens": prompt,
            # This API's clients require the details, so 0 also stands for what the back end does not know.
            "input_tokens_details": {"cached_tokens": self._job.cached_ids or 0, "cache_write_tokens": 0},
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": self.turn.lanes.reasoning_ids},
            "total_tokens": prompt + answer,
        }

    @property
    def held(self) -> int:
        """The ids that are no text yet."""
        return self.turn.lanes.held

    @property
    def ending(self) -> str:
        """The status with which the answer ended."""
        if self.turn.reason in FAILURES:
            return "failed"
        return "incomplete" if self.turn.reason in INCOMPLETE else "completed"

    # --- items ---

    def item(self, block: Block, *, begun: bool = False) -> dict[str, Any]:
        """Return the item of a block; `begun` is without the content, as its first event has it."""
        status = "in_progress" if begun else "completed" if block.whole else "incomplete"
        if block.kind == "call":
            return {
                "type": "function_call",
                "id": self.item_id(block),
                "call_id": block.id,
                "name": block.name,
                "arguments": "" if begun else block.text,
                "status": status,
            }
        content = [] if begun else [self.part(block, block.text)]
        if block.kind == "text":
            return {
                "type": "message",
                "id": block.id,
                "role": "assistant",
                "content": content,
                "status": status,
            }
        summary, content = (content, []) if self._asked.reasoning_summary else ([], content)
        item: dict[str, Any] = {
            "type": "reasoning",
            "id": block.id,
            "summary": summary,
            "content": content,
            "status": status,
        }
        if self._asked.encrypted_reasoning:
            # Nothing is encrypted: for a client that keeps this field alone, it names the turn.
            item["encrypted_content"] = None if begun else self._token(block)
        return item

    def item_id(self, block: Block) -> str:
        """Return the id of a block's item: a call has one besides that which the result names."""
        if block.kind != "call":
            return block.id
        if block.place not in self._call_items:
            self._call_items[block.place] = self._mint("fc_")
        return self._call_items[block.place]

    def _token(self, block: Block) -> str:
        if block.place not in self._tokens:
            self._tokens[block.place] = self._mint("enc_")
        return self._tokens[block.place]

    def part(self, block: Block, text: str) -> dict[str, Any]:
        """Return the part of an item that holds its text."""
        if block.kind == "text":
            logprobs = self._of_blocks.get(block.place, []) if text else []
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
        kind = "summary_text" if self._asked.reasoning_summary else "reasoning_text"
        return {"type": kind, "text": text}


class ResponsesDocument(ResponsesForm):
    """One `response` object."""

    streamed = False
    headers = {"content-type": "application/json"}  # noqa: RUF012 - never written to

    def write(self, frame: CodecFrame) -> bytes:
        """Keep the frame."""
        for _ in self.steps(frame):
            pass
        return b""

    def close(self) -> bytes:
        """Return the whole answer."""
        return msgspec.json.encode(self.document(self.ending))


class ResponsesEvents(ResponsesForm):
    """The events of a response, numbered."""

    streamed = True
    headers = EVENTS

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        super().__init__(asked, job, mint)
        self._number = 0

    def write(self, frame: CodecFrame) -> bytes:
        """Return the events that the frame makes."""
        body = b""
        if not self._number:
            begun = self.document("in_progress")
            body = self._event("created", response=begun) + self._event("in_progress", response=begun)
        # Before the progress is asked for, which the turn's lanes have when they have read the frame.
        written = b"".join([self._written(*each) for each in self.steps(frame)])
        return body + progress_events(self.turn.lanes) + written

    def close(self) -> bytes:
        """Return the last event, with the whole response."""
        return self._event(self.ending, response=self.document(self.ending))

    def _event(self, kind: str, **fields: Any) -> bytes:
        document = {"type": f"response.{kind}", "sequence_number": self._number, **fields}
        self._number += 1
        return named_event(document["type"], document)

    def _written(self, step: Step, logprobs: list[dict[str, Any]]) -> bytes:
        block = step.block
        at = {"output_index": block.place, "item_id": self.item_id(block)}
        if step.kind == "start":
            item = self.item(block, begun=True)
            added = self._event("output_item.added", output_index=block.place, item=item)
            return added if block.kind == "call" else added + self._part_event("added", block, "", at)
        if step.kind == "delta":
            return self._text_event("delta", block, at, logprobs, delta=step.text)
        # Events are numbered as they are made, so in the order in which they go out.
        if block.kind == "call":
            body = self._text_event("done", block, at, [], name=block.name, arguments=block.text)
        else:
            whole = self._of_blocks.get(block.place, [])
            body = self._text_event("done", block, at, whole, text=block.text)
            body += self._part_event("done", block, block.text, at)
        return body + self._event("output_item.done", output_index=block.place, item=self.item(block))

    def _part_event(self, kind: str, block: Block, text: str, at: dict[str, Any]) -> bytes:
        summary = block.kind == "reasoning" and self._asked.reasoning_summary
        name, place = (
            ("reasoning_summary_part", "summary_index") if summary else ("content_part", "content_index")
        )
        return self._event(f"{name}.{kind}", **at, **{place: 0}, part=self.part(block, text))

    def _text_event(
        self, kind: str, block: Block, at: dict[str, Any], logprobs: list[dict[str, Any]], **fields: Any
    ) -> bytes:
        if block.kind == "call":
            return self._event(f"function_call_arguments.{kind}", **at, **fields)
        if block.kind == "text":
            return self._event(f"output_text.{kind}", **at, content_index=0, logprobs=logprobs, **fields)
        if self._asked.reasoning_summary:
            return self._event(f"reasoning_summary_text.{kind}", **at, summary_index=0, **fields)
        return self._event(f"reasoning_text.{kind}", **at, content_index=0, **fields)


FAILED_RESPONSE = {"code": "server_error", "message": FAILED["error"]["message"]}


def _tool(tool: OfferedTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": False,  # a schema is told to the model, and not enforced
    }
