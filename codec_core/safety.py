"""Safety policies as published: the categories that a deployment acts on, never how it recognizes them.

Token ids, thresholds and patterns are not part of the published form, so the types have no place for them:
unknown fields are dropped when a descriptor is read, and never written.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

import msgspec

from codec_core.exceptions import CONVERSION_ERRORS, SafetyPolicyValidationError

CATEGORY_NAME = r"^[a-z0-9_-]+\Z"

CategoryAction = Literal["stop", "redact", "regenerate", "flag"]
ClassifierHost = Literal["server", "client", "both"]
EngineFeature = Literal["logits_processor", "hidden_states", "sampling_chain"]

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class SafetyCategory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kind of content and the action on it."""

    name: Annotated[str, msgspec.Meta(pattern=CATEGORY_NAME)]
    action: CategoryAction
    description: str | None = None


class SafetyClassifierBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """The family of the classifier, and the place where it runs."""

    family: _Text
    host: ClassifierHost | None = None
    requires_engine_features: tuple[EngineFeature, ...] | None = None


class SafetyRulesSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """The number of rules of each sort, never the rules."""

    banned_token_id_count: _Count | None = None
    regex_pattern_count: _Count | None = None
    grammar_constraint_count: _Count | None = None
    multi_token_pattern_count: _Count | None = None


class SafetyClientHooksBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """The checks that a client may make before it sends a request."""

    prefilter_categories: tuple[str, ...] | None = None
    client_classifier_family: str | None = None


class SafetyPublisherBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """The publisher of the policy."""

    name: str | None = None
    url: str | None = None
    contact: str | None = None


class SafetyPolicyDescriptor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A published safety policy. The order of the fields is that of its canonical bytes."""

    id: _Text
    version: str
    tokenizers: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1)]
    categories: Annotated[tuple[SafetyCategory, ...], msgspec.Meta(min_length=1)]
    classifier: SafetyClassifierBlock
    category_registry: str | None = None
    rules_summary: SafetyRulesSummary | None = None
    client_hooks: SafetyClientHooksBlock | None = None
    published_at: str | None = None
    publisher: SafetyPublisherBlock | None = None


def descriptor_from_json(raw: dict[str, Any]) -> SafetyPolicyDescriptor:
    """Return the descriptor in a decoded JSON object; unknown fields are dropped.

    Raises:
        SafetyPolicyValidationError: a field is missing or wrong; the message names it.
    """
    try:
        return msgspec.convert(raw, SafetyPolicyDescriptor)
    except (*CONVERSION_ERRORS, RecursionError) as error:
        raise SafetyPolicyValidationError(f"not a safety policy: {error}") from None


def validate_safety_policy(value: Any) -> None:
    """Check that a value, decoded JSON or a descriptor, is a safety policy.

    Raises:
        SafetyPolicyValidationError: a field is missing or wrong; the message names it.
    """
    if isinstance(value, SafetyPolicyDescriptor):
        value = _builtins(value)
    descriptor_canonical_bytes(descriptor_from_json(value))


def descriptor_canonical_bytes(descriptor: SafetyPolicyDescriptor) -> bytes:
    """Return the canonical bytes of a policy: those to hash and to publish.

    Raises:
        SafetyPolicyValidationError: a text holds a lone surrogate, which has no bytes, or a field an object
            that JSON does not have.
    """
    text = json.dumps(_builtins(descriptor), indent=2, ensure_ascii=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SafetyPolicyValidationError(f"the policy's text is not Unicode: {error}") from None


def _builtins(descriptor: SafetyPolicyDescriptor) -> Any:
    try:
        return msgspec.to_builtins(descriptor)
    except TypeError as error:  # a struct made in Python is not checked: its fields may have any type
        raise SafetyPolicyValidationError(f"not a safety policy: {error}") from None


def hash_safety_policy(descriptor: SafetyPolicyDescriptor) -> str:
    """Return the name of a policy: `sha256:<hex>` of its canonical bytes."""
    return "sha256:" + hashlib.sha256(descriptor_canonical_bytes(descriptor)).hexdigest()
