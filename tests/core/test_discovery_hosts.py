"""Where pointers and redirects may lead, and what becomes of URLs and servers that are malformed."""

import asyncio
import contextlib
import json

import httpx
import pytest

from codec_core.discovery import (
    addresses,
    discover_map,
    discover_safety_policy,
    discover_version_policy,
    load_map,
    load_map_dicts,
    load_safety_policy,
)
from codec_core.discovery.addresses import Destinations, addresses_of
from codec_core.exceptions import (
    CodecError,
    MapDiscoveryError,
    SafetyPolicyDiscoveryError,
    SafetyPolicyHashMismatchError,
    VersionPolicyError,
)
from codec_core.maps import TokenizerMap, ZstdDictionary
from tests.core.test_discovery import HASH, HERE, KNOWN, MAP, ORIGIN

pytestmark = pytest.mark.asyncio

PRIVATE = [
    "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "[::1]", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[::ffff:10.0.0.1]",
    "[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]", "[::10.0.0.1]", "[::ffff:0:10.0.0.1]", "[fec0::1]",
    "[2002:a00:1::]", "localhost", "LOCALHOST", "a.localhost", "localhost.",
    "2130706433", "0x7f.1", "127.1", "10.0.0.1.", "224.0.0.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1",
    "[2606:4700::1111]",
    "cdn.example",
    "1.2.3.4.example",
    "0x7g.1",
    "0b1111111.1",
    "0o177.1",
]


def answering(routes):
    """Return a client to which a table of path or URL to response answers."""

    def serve(request):
        answer = routes.get(str(request.url)) or routes.get(request.url.path)
        return answer or httpx.Response(200, content=MAP)

    return httpx.AsyncClient(transport=httpx.MockTransport(serve), follow_redirects=True)


def pointing_to(url):
    return httpx.Response(200, content=json.dumps({"id": "a/b", "url": url, "hash": HASH}).encode())


async def test_digits_of_other_scripts_and_of_python_spell_no_address():
    """No resolver reads them, and the host that the caller named would be taken for this machine."""
    for name in ("١٢٧.0.0.1", "1_27.0.0.1", "+127.0.0.1", "127.0.0. 1", "٢١٣٠٧٠٦٤٣٣", "²"):
        assert addresses._literal(name) is None, name


@pytest.mark.parametrize("host", PRIVATE)
async def test_a_pointer_or_redirect_to_an_address_that_is_not_public_is_refused(host):
    url = f"http://{host}/m.json"
    async with answering({HERE: pointing_to(url)}) as client:
        with pytest.raises(MapDiscoveryError, match="not a public address; pass allow_private=True"):
            await discover_map(origin=ORIGIN, id="a/b", client=client)
        found = await discover_map(origin=ORIGIN, id="a/b", client=client, allow_private=True)
        assert found.hash == HASH
    async with answering({"/away": httpx.Response(302, headers={"location": url})}) as client:
        with pytest.raises(MapDiscoveryError, match="not a public address"):
            await load_map(url=ORIGIN + "/away", client=client)
        with pytest.raises(SafetyPolicyDiscoveryError, match="not a public address"):
            await load_safety_policy(url=ORIGIN + "/away", client=client)
        assert (await load_map(url=ORIGIN + "/away", client=client, allow_private=True)).hash == HASH


async def test_a_version_policy_comes_from_an_address_that_is_not_public_only_where_that_is_meant():
    where = "http://10.0.0.1/policy.json"
    document = httpx.Response(200, json={"minimum_version": "0.5", "required_features": []})
    away = httpx.Response(302, headers={"location": where})
    async with answering({"/.well-known/codec/version-policy.json": away, where: document}) as client:
        with pytest.raises(VersionPolicyError, match="pass allow_private=True"):
            await discover_version_policy(ORIGIN, client=client)
        found = await discover_version_policy(ORIGIN, client=client, allow_private=True)
        assert found.minimum_version == "0.5"


@pytest.mark.parametrize("host", PUBLIC)
async def test_other_hosts_are_followed(host):
    async with answering({HERE: pointing_to(f"http://{host}/m.json")}) as client:
        assert (await discover_map(origin=ORIGIN, id="a/b", client=client)).hash == HASH


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("http://10.0.0.1:8000", "http://10.0.0.1:9000/m"),
        ("http://127.0.0.1:8000", "http://localhost:9000/m"),
        ("http://intranet", "http://intranet/m"),
        ("http://[::1]:1", "http://127.0.0.1/m"),
    ],
)
async def test_the_host_that_the_caller_names_is_always_allowed(origin, url):
    async with answering({HERE: pointing_to(url)}) as client:
        assert (await discover_map(origin=origin, id="a/b", client=client)).hash == HASH


async def test_a_private_origin_does_not_open_the_whole_network():
    async with answering({HERE: pointing_to("http://169.254.169.254/m")}) as client:
        with pytest.raises(MapDiscoveryError, match=r"169\.254\.169\.254"):
            await discover_map(origin="http://127.0.0.1:1", id="a/b", client=client)


async def test_policies_and_dictionaries_are_held_to_the_same():
    pointer = {"id": "x", "url": "http://10.0.0.1/p", "hash": HASH}
    routes = {f"{KNOWN}/policies/x.json": httpx.Response(200, content=json.dumps(pointer).encode())}
    async with answering(routes) as client:
        with pytest.raises(SafetyPolicyDiscoveryError, match="not a public address"):
            await discover_safety_policy(origin=ORIGIN, id="x", client=client)
        entry = ZstdDictionary("msgpack", "http://10.0.0.1/d", HASH)
        own = TokenizerMap("a/b", "2", 1, vocab={"a": 0}, zstd_dictionaries=[entry])
        with pytest.raises(MapDiscoveryError, match="not a public address"):
            await load_map_dicts(own, client=client, base_url=ORIGIN)


@pytest.mark.parametrize(
    ("addresses", "is_refused"), [(["1.1.1.1"], False), (["1.1.1.1", "10.0.0.1"], True), ([], False)]
)
async def test_all_addresses_of_a_name_are_judged(addresses, is_refused):
    async def look_up(name):
        assert name == "cdn.example"
        return addresses

    allowed = Destinations(ORIGIN, allow_private=False, look_up=look_up)
    with pytest.raises(MapDiscoveryError, match=r"10\.0\.0\.1") if is_refused else contextlib.nullcontext():
        await allowed.check("http://cdn.example/m", "cdn.example", MapDiscoveryError)


async def test_a_name_without_addresses_is_left_to_the_connection():
    assert await addresses_of("a" * 64 + ".invalid") == []


async def test_redirects_are_bounded_and_credentials_stay_with_their_host():
    seen = []

    def serve(request):
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.path == "/loop":
            return httpx.Response(302, headers={"location": "/loop"})
        if request.url.host != "cdn.example":
            return httpx.Response(302, headers={"location": "https://cdn.example/m"})
        return httpx.Response(200, content=MAP)

    transport = httpx.MockTransport(serve)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, auth=("me", "secret")) as client:
        assert (await load_map(url=ORIGIN + "/m", client=client)).hash == HASH
        assert [host for host, _ in seen] == ["maps.example", "cdn.example"]
        assert seen[0][1] is not None
        assert seen[1][1] is None
        with pytest.raises(httpx.TooManyRedirects):
            await load_map(url=ORIGIN + "/loop", client=client)
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(MapDiscoveryError, match="HTTP 302"):
            await load_map(url=ORIGIN + "/m", client=client)


MALFORMED = [
    "http://127.0.0.1:99999/m", "http://127.0.0.1:-1/m", "http://127.0.0.1:0/m", "http://a:b/m",
    "http://0177.0.0.1/m",
    "http://\u3002/m", "http://xn--/m", "http://maps.example/" + "a" * 70_000,
    "http://" + "a" * 64 + "\u00e9/m", "javascript:1", "data:,x", "http://[::1", "http:///x", "ftp://maps.example/m",
    "http://[v1.x]/m", "http://256.1.1.1/m",
]  # fmt: skip


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_malformed_url_is_a_typed_error(url):
    async with answering({HERE: pointing_to(url)}) as client:
        with pytest.raises(MapDiscoveryError):
            await discover_map(origin=ORIGIN, id="a/b", client=client)
    with pytest.raises(MapDiscoveryError):
        await load_map(url=url)


@pytest.mark.parametrize("url", [*(url for url in MALFORMED if url != "http:///x"), "//", "\x7f"])
async def test_a_redirect_to_a_malformed_url_is_a_typed_error(url):
    location = httpx.Response(302, headers=[(b"location", url.encode("utf-8"))])
    async with answering({"/away": location}) as client:
        with pytest.raises((CodecError, httpx.HTTPError)):
            await load_map(url=ORIGIN + "/away", client=client)


async def test_informational_responses_without_end_run_out_of_time():
    async def flood(reader, writer):
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
                await writer.drain()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(httpx.ReadTimeout, match=r"no response within 0\.2 s"):
            await load_map(url=f"http://127.0.0.1:{port}/m", timeout=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NO_PROXY", "localhost,[::1]"), ("NO_PROXY", "fe80::/10"), ("ALL_PROXY", "socks://127.0.0.1:9"),
     ("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTP_PROXY", "http://a:99999"), ("ALL_PROXY", "::")],
)  # fmt: skip
async def test_proxy_settings_that_cannot_be_used_are_a_typed_error(name, value, monkeypatch):
    for variable in ("NO_PROXY", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises((CodecError, httpx.HTTPError)):
        await load_map(url="http://127.0.0.1:9/m")


@pytest.mark.parametrize("served", [b"not JSON", b"{", b"[]", b"\xff"])
async def test_a_policy_is_judged_by_its_hash_before_its_form(served):
    async with answering({"/p": httpx.Response(200, content=served)}) as client:
        with pytest.raises(SafetyPolicyHashMismatchError):
            await load_safety_policy(url=ORIGIN + "/p", hash="ab" * 32, client=client)
    there = f"{KNOWN}/policies/sha256/{'ab' * 32}.json"
    async with answering({there: httpx.Response(200, content=b"not JSON")}) as client:
        with pytest.raises(SafetyPolicyHashMismatchError):
            await discover_safety_policy(origin=ORIGIN, id="x", hash="ab" * 32, client=client)
