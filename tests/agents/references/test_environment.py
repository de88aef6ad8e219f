"""References to environment variables."""

import pytest

from codec_agents.exceptions import SecretMissingError
from codec_agents.references.environment import (
    expand,
    expand_secret,
    is_reference,
    looks_secret,
    missing,
    references,
    url_has_secret,
)


def test_references_are_replaced():
    environment = {"HOST": "example", "PORT": "80"}
    assert expand("http://${HOST}:${PORT}/x", environment) == "http://example:80/x"
    assert expand("${NONE:-fallback}", environment) == "fallback"
    assert [expand(text, {"A": ""}) for text in ("${A:-x}", "${A:-}", "${A}")] == ["x", "", ""]
    assert expand("$HOST $ {HOST} ${}", environment) == "$HOST $ {HOST} ${}"


def test_a_value_is_not_expanded_again():
    assert expand("${A}", {"A": "${B}", "B": "x"}) == "${B}"


def test_what_is_not_set_is_named():
    with pytest.raises(SecretMissingError, match="'KEY' is not set") as caught:
        expand("Bearer ${KEY}", {})
    assert caught.value.variable == "KEY"
    assert missing("${A} ${B:-x} ${C}", {"A": ""}) == ("C",)
    assert references("${A} ${B:-x}") == ("A", "B")


def test_a_secret_does_not_print_itself():
    assert "hidden" not in repr(expand_secret("${KEY}", {"KEY": "hidden"}))
    assert expand_secret("${KEY}", {"KEY": "hidden"}).get_secret_value() == "hidden"


@pytest.mark.parametrize(
    ("text", "result"),
    [("${K}", True), ("Bearer ${K}", True), ("sk-123", False), ("sk-${K}", False), ("", False)],
)
def test_only_a_reference_stands_for_a_secret(text, result):
    assert is_reference(text) is result


def test_names_and_urls_that_hold_secrets():
    assert looks_secret("Authorization")
    assert looks_secret("X-Api-Key")
    assert not looks_secret("X-Request-Id")
    assert url_has_secret("http://user:word@host/")
    assert not url_has_secret("http://user:${WORD}@host/")
    assert url_has_secret("https://ghp_word@host/")
    assert not url_has_secret("https://${TOKEN}@host/")
    assert not url_has_secret("https://user:@host/")
    assert not url_has_secret("https://host/@name")
    assert not url_has_secret("http://host:80/")
    assert url_has_secret("http://host/v1?a=1&api_key=sk-word")
    assert not url_has_secret("http://host/v1?api_key=${WORD}&a=1")
    assert not url_has_secret("http://[broken")
