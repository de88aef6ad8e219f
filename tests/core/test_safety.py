"""Safety policies: canonical bytes, and no place for what must not be published."""

import copy

import pytest
from msgspec.structs import replace

from codec_core.exceptions import SafetyPolicyValidationError
from codec_core.safety import (
    SafetyPolicyDescriptor,
    descriptor_canonical_bytes,
    descriptor_from_json,
    hash_safety_policy,
    validate_safety_policy,
)

POLICY = {
    "publisher": {"url": "u", "name": "é"},
    "id": "x/y",
    "version": "1",
    "tokenizers": ["a/b"],
    "categories": [{"action": "stop", "name": "n"}],
    "classifier": {"family": "f", "host": "both", "requires_engine_features": ["hidden_states"]},
    "category_registry": "r",
    "rules_summary": {"regex_pattern_count": 1},
    "client_hooks": {"prefilter_categories": ["n"]},
    "published_at": "z",
}

CANONICAL = """\
{
  "id": "x/y",
  "version": "1",
  "tokenizers": [
    "a/b"
  ],
  "categories": [
    {
      "name": "n",
      "action": "stop"
    }
  ],
  "classifier": {
    "family": "f",
    "host": "both",
    "requires_engine_features": [
      "hidden_states"
    ]
  },
  "category_registry": "r",
  "rules_summary": {
    "regex_pattern_count": 1
  },
  "client_hooks": {
    "prefilter_categories": [
      "n"
    ]
  },
  "published_at": "z",
  "publisher": {
    "name": "é",
    "url": "u"
  }
}
"""

SMALLEST = {
    "id": "x/y",
    "version": "1",
    "tokenizers": ["a/b"],
    "categories": [{"name": "n", "action": "stop"}],
    "classifier": {"family": "f"},
}


def test_canonical_bytes_are_those_of_the_protocol():
    assert descriptor_canonical_bytes(descriptor_from_json(POLICY)).decode() == CANONICAL


def test_the_hash_is_the_one_the_existing_client_gives():
    # computed once by the existing client for the same policy
    expected = "sha256:c91982218e1ca7ca172d24f79111d816154773522a5c774b2afb7903c880e2b8"
    assert hash_safety_policy(descriptor_from_json(SMALLEST)) == expected


def test_what_must_not_be_published_is_never_carried():
    secret = copy.deepcopy(SMALLEST) | {"banned_token_ids": [13], "patterns": ["p"]}
    secret["classifier"] |= {"threshold": 0.5}
    secret["rules_summary"] = {"banned_token_ids": [13]}
    written = descriptor_canonical_bytes(descriptor_from_json(secret)).decode()
    assert not any(word in written for word in ("13", "threshold", "patterns", "banned_token_ids"))


def test_an_explicit_null_is_an_absent_field():
    assert descriptor_from_json(SMALLEST | {"publisher": None}) == descriptor_from_json(SMALLEST)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"version": 1}, "version"),
        ({"tokenizers": []}, "tokenizers"),
        ({"tokenizers": [""]}, "tokenizers"),
        ({"categories": []}, "categories"),
        ({"categories": [{"name": "N", "action": "stop"}]}, r"categories\[0\].name"),
        ({"categories": [{"name": "n\n", "action": "stop"}]}, r"categories\[0\].name"),
        ({"categories": [{"name": "n", "action": "explode"}]}, r"categories\[0\].action"),
        ({"classifier": {}}, "family"),
        ({"classifier": {"family": "f", "host": "moon"}}, "classifier.host"),
        ({"classifier": {"family": "f", "requires_engine_features": ["x"]}}, "requires_engine_features"),
        ({"rules_summary": {"banned_token_id_count": -1}}, "banned_token_id_count"),
        ({"rules_summary": {"banned_token_id_count": True}}, "banned_token_id_count"),
        ({"rules_summary": {"regex_pattern_count": 1.5}}, "regex_pattern_count"),
        ({"publisher": {"url": 5}}, "publisher.url"),
        ({"published_at": "\ud800"}, "surrogates"),
    ],
)
def test_a_wrong_field_is_named(change, field):
    with pytest.raises(SafetyPolicyValidationError, match=field):
        validate_safety_policy(SMALLEST | change)


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(SafetyPolicyValidationError):
        validate_safety_policy(value)


def test_a_descriptor_can_be_checked_too():
    good = descriptor_from_json(SMALLEST)
    validate_safety_policy(good)
    with pytest.raises(SafetyPolicyValidationError):
        validate_safety_policy(SafetyPolicyDescriptor("x", "1", (), good.categories, good.classifier))
    with pytest.raises(SafetyPolicyValidationError, match="type object"):
        validate_safety_policy(replace(good, published_at=object()))
