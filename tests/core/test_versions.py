"""Versions: what is said, what is understood, and a 426 that nobody can overlook."""

import json
from types import SimpleNamespace

import pytest

from codec_core.exceptions import CodecVersionBodyError, CodecVersionRequiredError, VersionPolicyError
from codec_core.versions import (
    CODEC_CLIENT_VERSION,
    CodecVersionPolicyDocument,
    client_version_of,
    headers_for_client,
    parse_version,
    parse_version_policy_document,
    parse_version_required,
    version_required,
    with_codec_client_version,
)


def response(status, body, headers=None):
    text = body if isinstance(body, str) else json.dumps(body)
    return SimpleNamespace(status_code=status, text=text, headers=headers or {})


BODY = {
    "error": "codec_version_required",
    "minimum_version": "0.6",
    "required_features": ["delta"],
    "client_version": "0.5",
    "docs_url": "https://example.org",
    "something_new": [1],
}


def test_every_request_says_the_version():
    assert with_codec_client_version() == {"Codec-Client-Version": CODEC_CLIENT_VERSION}
    assert with_codec_client_version({"a": "b"}, "0.3") == {"a": "b", "Codec-Client-Version": "0.3"}
    assert with_codec_client_version({"codec-client-version": "9.9"}) == {"codec-client-version": "9.9"}


def test_426_becomes_an_error_with_the_fields():
    error = parse_version_required(response(426, BODY))
    assert isinstance(error, CodecVersionRequiredError)
    assert error.body.required_features == ("delta",)
    assert (error.minimum_version, error.client_version) == ("0.6", "0.5")
    assert "0.6" in str(error)
    assert "https://example.org" in str(error)


def test_other_statuses_are_no_error():
    assert parse_version_required(response(200, "anything")) is None


@pytest.mark.parametrize(
    "body", ["", "not json", "[]", {}, BODY | {"error": "x"}, BODY | {"minimum_version": 1}, "[" * 100_000]
)
def test_426_with_another_body_is_an_error_too(body):
    headers = {"Codec-Min-Version": "0.6", "Codec-Required-Features": "a, b"}
    with pytest.raises(CodecVersionBodyError) as caught:
        parse_version_required(response(426, body, headers))
    assert caught.value.minimum_version == "0.6"
    assert caught.value.required_features == ("a", "b")


def test_what_the_server_side_writes_the_client_side_reads():
    headers, body = version_required("0.2", "0.4", ("zstd", "delta"), deployment_id="d1")
    assert headers["Codec-Min-Version"] == "0.4"
    assert headers["Codec-Required-Features"] == "zstd, delta"
    error = parse_version_required(response(426, body.decode()))
    assert error is not None
    assert (error.required_features, error.deployment_id) == (("zstd", "delta"), "d1")


def test_versions_compare_as_numbers():
    assert parse_version("0.10") > parse_version("0.9")


@pytest.mark.parametrize("text", ["", "1", "a.b", "0.-1", "0.1.2", "0.999999999999", "².1"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="not a Codec version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("headers", "version"),
    [({}, "0.2"), ({"CODEC-client-version": "0.4"}, "0.4"), ({"Codec-Client-Version": "latest"}, "0.2")],
)
def test_a_client_that_does_not_say_speaks_the_oldest(headers, version):
    assert client_version_of(headers) == version


def test_a_header_newer_than_the_client_is_never_sent():
    headers = {
        "Codec-Tokenizer-Map": "m",
        "Codec-Safety-Policy": "p",
        "codec-safety-policy-hash": "h",
        "Vary": "v",
    }
    assert headers_for_client(headers, "0.2") == {"Codec-Tokenizer-Map": "m", "Vary": "v"}
    assert headers_for_client(headers, "0.4") == headers


def test_a_policy_document_is_read():
    raw = {"minimum_version": "0.4", "required_features": [], "valid_until": "2027-01-01", "new": 1}
    assert parse_version_policy_document(raw) == CodecVersionPolicyDocument(
        "0.4", (), valid_until="2027-01-01"
    )


@pytest.mark.parametrize(
    "raw", [None, [], {}, {"minimum_version": "0.4"}, {"minimum_version": "x", "required_features": []}]
)
def test_a_malformed_policy_document_is_an_error(raw):
    with pytest.raises(VersionPolicyError):
        parse_version_policy_document(raw)
