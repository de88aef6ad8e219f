"""The package `renderers` as a reference: its prompts in the ids of a small map (`make test-families`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from codec_agents.dialects import get_dialect
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map
from tests.agents.dialects.references import Conversation, Source, messages, options


class SmallTokenizer:
    """The map of a dialect's markers as the package takes tokenizers.

    A token that the dialect does not know gets an id of its own behind the map's: were it written, the texts
    would differ.
    """

    eos_token = pad_token = bos_token = unk_token = None
    unk_token_id = bos_token_id = pad_token_id = None
    chat_template = None
    is_fast = False

    def __init__(self, source: Source) -> None:
        self.name_or_path = source.tokens.get("name", "test/small")
        self._vocabulary = vocabulary_of(
            small_map(
                [each for each in get_dialect(source.dialect).all_markers() if each not in source.without]
            )
        )
        self._encode = pick_tokenizer(self._vocabulary).encode
        self._others: dict[str, int] = {}
        self.eos_token_id = self.convert_tokens_to_ids(source.tokens.get("eos_token", "<eos>"))
        self.bos_token_id = self.convert_tokens_to_ids(source.tokens.get("bos_token", "<bos>"))

    def get_vocab(self) -> dict[str, int]:
        return dict(self._vocabulary.special_tokens)

    def encode(self, text: str, **_options: Any) -> list[int]:
        if text not in self._vocabulary.special_tokens and re.fullmatch(r"<[|｜][^ <>]+[|｜]>", text):
            return [self.convert_tokens_to_ids(text)]
        return list(self._encode(text))  # as the package expects, markers in a text are control tokens

    def __call__(self, text: str, **_options: Any) -> Any:
        raise TypeError("no offsets")

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(each) for each in tokens]
        known = self._vocabulary.special_tokens.get(tokens)
        if known is not None:
            return known
        return self._others.setdefault(tokens, 1_000_000 + len(self._others))

    def decode(self, ids: int | Sequence[int], **_options: Any) -> str:
        names = {number: name for name, number in self._others.items()}
        spelled = b"".join(
            names[each].encode() if each in names else self._vocabulary.token_bytes(each)
            for each in ([ids] if isinstance(ids, int) else ids)
        )
        return spelled.decode("utf-8", "replace")


def render(source: Source, conversation: Conversation) -> tuple[list[int], str]:
    """Return the prompt of a renderer, in ids and as text."""
    tokenizer = _tokenizer(source)
    ids = render_with(tokenizer, source, conversation)
    return ids, tokenizer.decode(ids)


def _tokenizer(source: Source) -> Any:
    if source.renderer != "gpt-oss":
        return SmallTokenizer(source)
    # It writes prompts with the models' own package, in the ids of their own tokenizer.
    from tests.agents.dialects.real_ids import GPT_OSS, RealTokenizer, tokenizer_file

    return RealTokenizer(tokenizer_file(GPT_OSS))


def kind_of(renderer: str) -> Any:
    """Return the configuration class of a renderer."""
    from renderers import configs

    kinds = [each for each in vars(configs).values() if isinstance(each, type)]
    named = {
        kind.model_fields["name"].default: kind
        for kind in kinds
        if issubclass(kind, configs.BaseRendererConfig) and "name" in kind.model_fields
    }
    return named[renderer]


def render_with(tokenizer: Any, source: Source, conversation: Conversation) -> list[int]:
    """Return the prompt of a renderer in the ids of a tokenizer."""
    from renderers.base import create_renderer

    from tests.agents.dialects.real_ids import provide_harmony_ranks

    kind = kind_of(source.renderer)
    fields = options(source, conversation)
    if "enable_thinking" in kind.model_fields and conversation.chat.thinking is not None:
        fields = {"enable_thinking": conversation.chat.thinking != "off", **fields}
    if source.renderer == "gpt-oss":
        provide_harmony_ranks()
    renderer = create_renderer(tokenizer, kind(**fields))
    tools = conversation.schemas(source) or None
    return list(renderer.render_ids(messages(source, conversation), tools=tools, add_generation_prompt=True))
