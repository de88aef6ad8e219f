"""Secrets that are hidden in texts."""

from base64 import b64encode
from urllib.parse import quote

import pytest

from codec_agents.references.secret_texts import SecretTexts, hide

SECRET = 'Bearer sk/Key+"0123"'


@pytest.mark.parametrize(
    "form",
    ['sk/Key+"0123"', quote('sk/Key+"0123"', safe=""), 'SK/KEY+"0123"', 'sk/Key+\\"0123\\"'],
)
def test_a_secret_is_hidden_in_each_form_in_which_it_travels(form):
    assert hide(f"refused: {form}!", [SECRET]) == "refused: [secret]!"


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
