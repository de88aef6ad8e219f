"""Secrets that are hidden in texts."""

import json
import os
from base64 import b64encode
from urllib.parse import quote

import pytest

from codec_agents.engines.http.secrets import EngineSecrets
from codec_agents.references.secret_texts import SecretTexts, hide

SECRET = 'Bearer sk/Key+"0123"'


@pytest.mark.parametrize(
    "form",
    ['sk/Key+"0123"', "sk/Key%2b%220123%22", quote('sk/Key+"0123"', safe=""), 'sk/Key+\\"0123\\"'],
)
def test_a_secret_is_hidden_in_each_form_in_which_it_travels(form):
    assert hide(f"refused: {form}!", [SECRET]) == "refused: [secret]!"


def test_a_word_in_another_case_is_no_value_of_a_variable():
    """Otherwise `LOG_LEVEL=info` would hide how each line of a log begins."""
    assert hide("INFO: info, warn", ["info"]) == "INFO: [secret], warn"
    assert EngineSecrets(["info"]).hide("INFO") == "[secret]"


def test_values_that_are_no_utf8_are_hidden_in_each_form():
    value = os.fsdecode(b"key-\xff-0123")
    seen = [b"key-\xff-0123".decode("utf-8", "replace"), "key-%FF-0123", b64encode(b"key-\xff-0123").decode()]
    for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1], *seen):
        assert hide(f"<{form}>", [value]) == "<[secret]>"
    assert hide("<key-\ud800>", ["key-\ud800"]) == "<[secret]>"


def test_a_secret_in_base64_is_hidden():
    assert hide(b64encode(SECRET.encode()).decode(), [SECRET]) == "[secret]"


def test_each_line_of_a_secret_is_hidden():
    secrets = SecretTexts(["Bearer tok-123456\n", "-- KEY\nMIIEvQIBADAN\n"])
    assert secrets.hide("tok-123456 MIIEvQIBADAN") == "[secret] [secret]"


def test_short_values_are_no_secrets():
    assert hide("a no is a no", ["no", ""]) == "a no is a no"
    assert SecretTexts([]).longest == 0


def test_secrets_do_not_print_themselves():
    assert repr(SecretTexts([SECRET])) == "SecretTexts()"
