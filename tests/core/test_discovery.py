"""Discovery: what is loaded is what was asked for, or a typed error; nothing hostile passes the limit."""

import asyncio
import contextlib
import gc
import gzip
import hashlib
import json
import multiprocessing
import shutil
import zlib
from itertools import repeat
from random import Random

import httpx
import pytest

from codec_core import discovery
from codec_core.compression.dictionaries import hash_zstd_dict
from codec_core.discovery import (
    ChainedMapCache,
    DiskMapCache,
    MapCache,
    MapPointer,
    MemoryMapCache,
    MemorySafetyPolicyCache,
    discover_index,
    discover_map,
    discover_safety_policy,
    discover_version_policy,
    discover_zstd_dict,
    load_map,
    load_map_dicts,
    load_safety_policy,
)
from codec_core.exceptions import (
    CodecZstdDictError,
    MapDiscoveryError,
    MapDiscoveryNotFoundError,
    SafetyPolicyDiscoveryError,
    SafetyPolicyDiscoveryNotFoundError,
    SafetyPolicyHashMismatchError,
    SafetyPolicyValidationError,
    TokenizerMapHashMismatchError,
    TokenizerMapValidationError,
    VersionPolicyError,
)
from codec_core.maps import TokenizerMap, ZstdDictionary, hash_map, parse_map
from codec_core.safety import descriptor_canonical_bytes, descriptor_from_json, hash_safety_policy
from tests.limits import within

pytestmark = pytest.mark.asyncio

ORIGIN = "https://maps.example"
KNOWN = "/.well-known/codec"
MAP = json.dumps({"id": "a/b", "version": "2", "vocab_size": 2, "vocab": {"a": 0, "b": 1}}).encode()
HASH = "sha256:" + hashlib.sha256(MAP).hexdigest()
POINTER = {"id": "a/b", "url": ORIGIN + "/m.json", "hash": HASH}
HERE = KNOWN + "/maps/a/b.json"


class Server:
    """An origin that serves what a table says and remembers what it was asked."""

    def __init__(self, routes):
        self.routes = routes
        self.asked = []

    def __call__(self, request):
        self.asked.append(request.url.path)
        answer = self.routes.get(request.url.path, 404)
        if isinstance(answer, int):
            return httpx.Response(answer)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(
            200, content=answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )


async def ask(routes, call, **options):
    """Call a discovery function against a server, and return its result and what it asked for."""
    server = Server(routes)
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        result = await call(client=client, **options)
    return result, server.asked


async def test_a_pointer_leads_to_the_map():
    found, asked = await ask({HERE: POINTER, "/m.json": MAP}, discover_map, origin=ORIGIN + "/", id="a/b")
    assert (found.id, found.hash) == ("a/b", HASH)
    assert asked == [HERE, "/m.json"]


async def test_the_map_itself_may_lie_where_the_pointer_would():
    found, asked = await ask({HERE: MAP}, discover_map, origin=ORIGIN, id="a/b")
    assert found.hash == HASH
    assert asked == [HERE]


async def test_every_request_says_the_version():
    def serve(request):
        assert request.headers["codec-client-version"] == "0.5"
        return httpx.Response(200, content=MAP)

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        await load_map(url=ORIGIN + "/m", client=client)


@pytest.mark.parametrize("map_id", ["", "A/b", "../x", "a/../b", "a//b", "/a", "a/", "a b", "a\n", "..", "é"])
async def test_an_id_that_could_lead_elsewhere_is_refused(map_id):
    with pytest.raises(MapDiscoveryError):
        await ask({}, discover_map, origin=ORIGIN, id=map_id)
    with pytest.raises(SafetyPolicyDiscoveryError):
        await ask({}, discover_safety_policy, origin=ORIGIN, id=map_id)


@pytest.mark.parametrize(
    "origin", ["", "ftp://x", "file:///etc", "https://", "x.y", "https://[::1", "https://a b"]
)
async def test_an_origin_is_http_or_https(origin):
    with pytest.raises(MapDiscoveryError):
        await ask({}, discover_map, origin=origin, id="a/b")


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ({}, MapDiscoveryNotFoundError),
        ({HERE: 410}, MapDiscoveryNotFoundError),
        ({HERE: POINTER}, MapDiscoveryNotFoundError),
        ({HERE: 500}, MapDiscoveryError),
        ({HERE: 204}, MapDiscoveryError),
        ({HERE: b"not json"}, MapDiscoveryError),
        ({HERE: b"\xff\xfe"}, MapDiscoveryError),
        ({HERE: b"[" * 100_000}, MapDiscoveryError),
        ({HERE: []}, MapDiscoveryError),
        ({HERE: {"id": "a/b"}}, MapDiscoveryError),
        ({HERE: POINTER | {"id": "a/c"}}, MapDiscoveryError),
        ({HERE: POINTER | {"url": "file:///etc/passwd"}}, MapDiscoveryError),
        ({HERE: POINTER | {"url": "javascript:alert(1)"}}, MapDiscoveryError),
        ({HERE: POINTER | {"url": "//maps.example/m.json"}}, MapDiscoveryError),
        ({HERE: POINTER | {"url": 5}}, MapDiscoveryError),
        ({HERE: POINTER | {"hash": "md5:00"}}, MapDiscoveryError),
        ({HERE: POINTER | {"hash": HASH.upper()}}, MapDiscoveryError),
        ({HERE: POINTER, "/m.json": MAP + b" "}, TokenizerMapHashMismatchError),
        ({HERE: POINTER | {"url": ORIGIN + HERE}}, TokenizerMapHashMismatchError),
        ({HERE: json.loads(MAP) | {"id": "a/c"}}, MapDiscoveryError),
        ({HERE: json.loads(MAP) | {"vocab": {"a": -1}}}, TokenizerMapValidationError),
    ],
)
async def test_whatever_is_wrong_has_its_own_error(routes, error):
    with pytest.raises(error) as caught:
        await ask(routes, discover_map, origin=ORIGIN, id="a/b")
    assert type(caught.value) is error


async def test_a_pointer_never_leads_to_a_pointer():
    second = json.dumps(POINTER).encode()
    first = POINTER | {"hash": "sha256:" + hashlib.sha256(second).hexdigest()}
    with pytest.raises(TokenizerMapValidationError):
        await ask({HERE: first, "/m.json": second}, discover_map, origin=ORIGIN, id="a/b")


class Endless(httpx.AsyncByteStream):
    """A body that goes on and on."""

    def __init__(self, chunk):
        self.chunk = chunk
        self.sent = 0

    async def __aiter__(self):
        while True:
            self.sent += len(self.chunk)
            yield self.chunk


async def test_a_body_without_end_costs_no_more_than_the_limit():
    body = Endless(b" " * 10_000)
    routes = {"/m": httpx.Response(200, stream=body)}
    with pytest.raises(MapDiscoveryError, match="limit of 50000"):
        await ask(routes, load_map, url=ORIGIN + "/m", max_bytes=50_000)
    assert body.sent <= 70_000


def zeros():
    """Yield a gzip body that goes on and on, 4 MB of zeros in each 4 KB."""
    packer = zlib.compressobj(wbits=31)
    for _ in range(3):
        piece = packer.compress(bytes(2**22)) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield piece
    while True:
        yield piece  # zeros after zeros are written alike


ENDLESS = {
    "plain": (b"", lambda: repeat(b" " * 2**16)),
    "a map": (b"", lambda: repeat(b'"x":[' * 2**13)),
    "compressed": (b"Content-Encoding: gzip\r\n", zeros),
}


@contextlib.asynccontextmanager
async def endless_server(headers, pieces, *, heard=lambda: None):
    """Serve a body that never ends over a real connection; `heard` is called with each request."""

    async def answer(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            heard()
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + headers + b"\r\n")
            for data in pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
        writer.transport.abort()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    # Answers, and connections that are about to be answered, whose tasks begin those of the answers: what is
    # left open is a warning in a later test.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    await asyncio.sleep(0)
    gc.collect()  # what is left open shows here, and not in a later test


@pytest.mark.parametrize(
    ("ask_for", "kind"),
    [
        *(("map", kind) for kind in ENDLESS),
        ("discovered", "a map"),
        ("index", "plain"),
        ("policy", "compressed"),
        ("dictionary", "plain"),
    ],
)
@pytest.mark.slow
async def test_a_real_body_without_end_is_refused_within_limits(ask_for, kind):
    headers, pieces = ENDLESS[kind]
    async with endless_server(headers, pieces()) as origin:
        call = {
            "map": lambda: load_map(url=origin),
            "discovered": lambda: discover_map(origin=origin, id="a/b"),
            "index": lambda: discover_index(origin=origin),
            "policy": lambda: discover_safety_policy(origin=origin, id="a/b"),
            "dictionary": lambda: discover_zstd_dict(origin=origin, hash=HASH),
        }[ask_for]
        await httpx.AsyncClient().aclose()  # what it loads when it is first made is not the body's doing
        with within(), pytest.raises((MapDiscoveryError, SafetyPolicyDiscoveryError), match=r"limit|budget"):
            await call()


async def test_a_body_that_never_comes_ends_with_the_callers_deadline():
    deadline = asyncio.timeout(None)
    # Past once the request is there: a deadline while it connects is another matter, and depends on the load.
    async with endless_server(b"", (), heard=lambda: deadline.reschedule(0)) as origin:
        with pytest.raises(TimeoutError):
            async with deadline:
                await load_map(url=origin)


async def test_a_body_that_says_it_is_too_large_is_not_read():
    body = Endless(b" ")
    routes = {"/m": httpx.Response(200, headers={"content-length": "1000000"}, stream=body)}
    with pytest.raises(MapDiscoveryError, match="1000000 bytes"):
        await ask(routes, load_map, url=ORIGIN + "/m", max_bytes=1000)
    assert body.sent == 0


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(bytes(2_000_000), mtime=0), "gzip"),
        (b"garbage", "gzip"),
        (gzip.compress(MAP, mtime=0)[:-3], "gzip"),
        (MAP, "lzma"),
    ],
)
async def test_a_bomb_or_a_broken_encoding_is_refused(content, encoding):
    def serve(request):
        return httpx.Response(200, headers={"content-encoding": encoding}, stream=Once(content))

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        with pytest.raises(MapDiscoveryError, match="cannot be decompressed"):
            await load_map(url=ORIGIN + "/m", client=client, max_bytes=100_000)


class Once(httpx.AsyncByteStream):
    def __init__(self, content):
        self.content = content

    async def __aiter__(self):
        yield self.content


async def test_a_compressed_map_is_read_and_hashed_as_it_was():
    compressed = gzip.compress(MAP, mtime=0)
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Once(compressed))
    seen = []
    found, _ = await ask(
        {"/m": response}, load_map, url=ORIGIN + "/m", hash=HASH, progress=lambda *args: seen.append(args)
    )
    assert found.hash == HASH
    assert seen == [(len(compressed), None)]


async def test_progress_is_told_with_the_total():
    seen = []
    await ask({"/m": MAP}, load_map, url=ORIGIN + "/m", progress=lambda *args: seen.append(args))
    assert seen == [(len(MAP), len(MAP))]


@pytest.mark.parametrize("wanted", [HASH, HASH.removeprefix("sha256:"), HASH.upper(), HASH[7:].upper()])
async def test_a_hash_may_be_pinned_by_its_digits_alone(wanted):
    found, _ = await ask({"/m": MAP}, load_map, url=ORIGIN + "/m", hash=wanted)
    assert found.hash == HASH
    with pytest.raises(TokenizerMapHashMismatchError):
        await ask({"/m": MAP + b" "}, load_map, url=ORIGIN + "/m", hash=wanted, cache=MemoryMapCache())


@pytest.mark.parametrize("wanted", ["", "x", "sha256:" + "0" * 63, HASH + "\n", "sha256:" + HASH])
async def test_a_hash_that_is_none_is_refused_before_any_request(wanted):
    with pytest.raises(MapDiscoveryError):
        await ask({"/m": 500}, load_map, url=ORIGIN + "/m", hash=wanted)


async def test_a_failing_connection_stays_the_error_of_httpx():
    def fail(request):
        raise httpx.ConnectError("no route")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(httpx.ConnectError):
            await load_map(url=ORIGIN + "/m", client=client)


async def test_without_a_client_one_is_made_and_closed():
    with pytest.raises(httpx.ConnectError):
        await load_map(url="http://127.0.0.1:9/m", timeout=2)


async def test_an_index_lists_the_maps():
    document = {"codec_version": "0.5", "maps": [POINTER], "more": 1}
    index, _ = await ask({KNOWN + "/index.json": document}, discover_index, origin=ORIGIN)
    assert index.maps == (MapPointer("a/b", ORIGIN + "/m.json", HASH),)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"codec_version": "0.5"},
        {"codec_version": "0.5", "maps": [POINTER, POINTER | {"id": "../x"}]},
        b"x",
    ],
)
async def test_a_malformed_index_is_an_error(document):
    with pytest.raises(MapDiscoveryError):
        await ask({KNOWN + "/index.json": document}, discover_index, origin=ORIGIN)


# Maps in use


async def test_a_map_that_is_in_use_is_not_loaded_again():
    routes = {"/m": MAP, HERE: POINTER, "/m.json": MAP}
    held, _ = await ask(routes, load_map, url=ORIGIN + "/m")
    assert await ask({}, load_map, url=ORIGIN + "/m", hash=HASH) == (held, [])
    found, asked = await ask(routes, discover_map, origin=ORIGIN, id="a/b")
    assert found is held
    assert asked == [HERE]


async def test_a_map_under_a_url_alone_is_asked_for_again_and_still_held_once():
    held, _ = await ask({"/m": MAP}, load_map, url=ORIGIN + "/m")
    found, asked = await ask({"/m": MAP}, load_map, url=ORIGIN + "/m")
    assert found is held
    assert asked == ["/m"]


async def test_a_map_that_nobody_uses_is_dropped():
    await ask({"/m": MAP}, load_map, url=ORIGIN + "/m")
    gc.collect()
    with pytest.raises(MapDiscoveryNotFoundError):
        await ask({}, load_map, url=ORIGIN + "/m", hash=HASH)


async def test_a_map_read_from_two_caches_is_held_once(tmp_path):
    cache = DiskMapCache(tmp_path)
    await cache.store(HASH, parse_map(MAP), MAP)
    assert await cache.get(HASH) is DiskMapCache(tmp_path).read(HASH)


# Caches


class OwnCache(MapCache):
    """A cache of the user's, which lies where one must wait for it."""

    def __init__(self):
        self.maps = {}
        self.asked = []

    async def get(self, key):
        await asyncio.sleep(0)
        self.asked.append(key)
        return self.maps.get(key)

    async def set(self, key, value):
        await asyncio.sleep(0)
        self.maps[key] = value


async def test_a_cache_of_the_users_own_is_awaited():
    cache = OwnCache()
    first, _ = await ask({"/m": MAP}, load_map, url=ORIGIN + "/m", hash=HASH, cache=cache)
    assert await ask({}, load_map, url=ORIGIN + "/m", hash=HASH, cache=cache) == (first, [])
    assert (cache.asked, cache.maps) == ([HASH, HASH], {HASH: first})


async def test_a_map_is_found_behind_a_cache_that_cannot_keep_it(tmp_path):
    last, memory = OwnCache(), MemoryMapCache()
    last.maps[HASH] = parse_map(MAP)
    chain = ChainedMapCache(memory, DiskMapCache(tmp_path), last)
    assert await chain.get(HASH) is last.maps[HASH]
    assert await memory.get(HASH) is last.maps[HASH]


def caches(tmp_path):
    return [
        MemoryMapCache(),
        DiskMapCache(tmp_path),
        ChainedMapCache(MemoryMapCache(), DiskMapCache(tmp_path / "c")),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_cached_map_is_not_asked_for_again(tmp_path, which):
    cache = caches(tmp_path)[which]
    routes = {HERE: POINTER, "/m.json": MAP}
    await ask(routes, discover_map, origin=ORIGIN, id="a/b", cache=cache)
    found, asked = await ask(routes, discover_map, origin=ORIGIN, id="a/b", cache=cache)
    assert (found.hash, asked) == (HASH, [HERE])
    found, asked = await ask({}, load_map, url=ORIGIN + "/m.json", hash=HASH, cache=cache)
    assert (found.hash, asked) == (HASH, [])


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_cache_keeps_maps_by_url_and_by_key_too(tmp_path, which):
    cache = caches(tmp_path)[which]
    await ask({"/m": MAP}, load_map, url=ORIGIN + "/m", cache=cache)
    await ask({"/m": MAP}, load_map, url=ORIGIN + "/m", cache=cache, cache_key="mine")
    for key in (ORIGIN + "/m", "mine"):
        assert (await cache.get(key)).hash == HASH
    assert await cache.get("unknown") is None


async def test_a_cached_map_of_another_hash_is_not_used():
    cache = MemoryMapCache()
    await cache.set("mine", parse_map(MAP + b" "))
    found, asked = await ask(
        {"/m": MAP}, load_map, url=ORIGIN + "/m", hash=HASH, cache=cache, cache_key="mine"
    )
    assert (found.hash, asked) == (HASH, ["/m"])


async def test_a_memory_cache_evicts_only_when_told_to():
    maps = [parse_map(MAP + b" " * n) for n in range(3)]
    unbounded, bounded = MemoryMapCache(), MemoryMapCache(max_maps=2)
    for number, one in enumerate(maps):
        await unbounded.set(str(number), one)
        await bounded.set(str(number), one)
        await bounded.get("0")
    assert None not in [await unbounded.get(str(number)) for number in range(3)]
    assert [bool(await bounded.get(str(number))) for number in range(3)] == [True, False, True]
    with pytest.raises(ValueError, match="at least 1"):
        MemoryMapCache(0)


@pytest.mark.parametrize("damage", [b"", MAP[:-1], MAP + b"x"])
async def test_a_damaged_file_is_a_miss_and_goes_away(tmp_path, damage):
    cache = DiskMapCache(tmp_path)
    await cache.store(HASH, parse_map(MAP), MAP)
    [file] = (tmp_path / "maps").iterdir()
    file.write_bytes(damage)
    assert await cache.get(HASH) is None
    assert not file.exists()


async def test_a_damaged_key_is_a_miss(tmp_path):
    cache = DiskMapCache(tmp_path)
    await cache.store("key", parse_map(MAP), MAP)
    [file] = (tmp_path / "keys").iterdir()
    file.write_bytes(b"../../etc/passwd")
    assert await cache.get("key") is None


async def test_a_map_made_in_memory_has_no_place_on_disk(tmp_path):
    with pytest.raises(MapDiscoveryError):
        await DiskMapCache(tmp_path).set("key", parse_map(MAP))


def store_and_read(folder):
    cache = DiskMapCache(folder)

    async def repeat():
        for _ in range(20):
            await cache.store("key", parse_map(MAP), MAP)
            assert cache.read("key").hash == HASH

    asyncio.run(repeat())


@pytest.mark.slow
async def test_several_processes_may_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=store_and_read, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not list(tmp_path.rglob(".*"))


def damage_at_random(folder, seed):
    random = Random(seed)
    for _ in range(200):
        files = [path for path in folder.rglob("*") if path.is_file()]
        with contextlib.suppress(OSError):  # what another process does meanwhile
            match random.randrange(8):
                case 0:
                    shutil.rmtree(folder)
                case 1 | 2 | 3 if files:
                    random.choice(files).write_bytes(MAP[: random.randrange(len(MAP))])
                case _ if files:
                    random.choice(files).unlink()


def store_and_read_whatever_happens(folder, seed):
    random, cache = Random(seed), DiskMapCache(folder)
    maps = {f"key{number}": MAP + b" " * number for number in range(3)}

    async def repeat():
        for _ in range(200):
            key = random.choice(list(maps))
            if random.random() < 0.5:
                await cache.store(key, parse_map(maps[key]), maps[key])
            found = cache.read(key)
            assert found is None or found.hash == hash_map(maps[key])

    asyncio.run(repeat())


@pytest.mark.slow
async def test_files_may_be_damaged_and_deleted_while_processes_use_them(tmp_path):
    context = multiprocessing.get_context("spawn")
    targets = [store_and_read_whatever_happens] * 2 + [damage_at_random]
    workers = [
        context.Process(target=target, args=(tmp_path / "cache", seed)) for seed, target in enumerate(targets)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


async def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = DiskMapCache(tmp_path / "file")
    assert cache.read(HASH) is None
    with pytest.raises(OSError, match="file"):
        await cache.store(HASH, parse_map(MAP), MAP)


# Policies


POLICY = descriptor_from_json(
    {
        "id": "p/q",
        "version": "1",
        "tokenizers": ["a/b"],
        "categories": [{"name": "n", "action": "stop"}],
        "classifier": {"family": "f"},
    }
)
POLICY_BYTES = descriptor_canonical_bytes(POLICY)
POLICY_HASH = hash_safety_policy(POLICY)
POLICY_HERE = KNOWN + "/policies/p/q.json"
BY_HASH = KNOWN + "/policies/sha256/" + POLICY_HASH.removeprefix("sha256:") + ".json"
POLICY_POINTER = {"id": "p/q", "url": ORIGIN + "/p.json", "hash": POLICY_HASH}


@pytest.mark.parametrize(
    ("routes", "wanted", "asked"),
    [
        ({POLICY_HERE: POLICY_BYTES}, None, [POLICY_HERE]),
        ({BY_HASH: POLICY_BYTES}, POLICY_HASH, [BY_HASH]),
        ({POLICY_HERE: POLICY_POINTER, "/p.json": POLICY_BYTES}, None, [POLICY_HERE, "/p.json"]),
        ({POLICY_HERE: POLICY_POINTER, "/p.json": json.loads(POLICY_BYTES)}, None, [POLICY_HERE, "/p.json"]),
    ],
)
async def test_a_policy_is_found_by_id_and_by_hash(routes, wanted, asked):
    assert await ask(routes, discover_safety_policy, origin=ORIGIN, id="p/q", hash=wanted) == (POLICY, asked)


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ({}, SafetyPolicyDiscoveryNotFoundError),
        ({POLICY_HERE: 500}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: b"x"}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: {}}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: POLICY_POINTER | {"id": "p/r"}}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: POLICY_POINTER | {"url": "file:///x"}}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: json.loads(POLICY_BYTES) | {"id": "p/r"}}, SafetyPolicyDiscoveryError),
        ({POLICY_HERE: json.loads(POLICY_BYTES) | {"classifier": {}}}, SafetyPolicyValidationError),
        (
            {POLICY_HERE: POLICY_POINTER, "/p.json": json.loads(POLICY_BYTES) | {"version": "2"}},
            SafetyPolicyHashMismatchError,
        ),
        ({POLICY_HERE: POLICY_POINTER, "/p.json": POLICY_POINTER}, SafetyPolicyHashMismatchError),
    ],
)
async def test_whatever_is_wrong_with_a_policy_has_its_own_error(routes, error):
    with pytest.raises(error) as caught:
        await ask(routes, discover_safety_policy, origin=ORIGIN, id="p/q")
    assert type(caught.value) is error


async def test_a_cached_policy_is_not_asked_for_again():
    cache = MemorySafetyPolicyCache()
    options = {"url": ORIGIN + "/p", "hash": POLICY_HASH, "cache": cache}
    assert await ask({"/p": POLICY_BYTES}, load_safety_policy, **options) == (POLICY, ["/p"])
    assert await ask({}, load_safety_policy, **options) == (POLICY, [])
    found = await ask({}, discover_safety_policy, origin=ORIGIN, id="p/q", hash=POLICY_HASH, cache=cache)
    assert found == (POLICY, [])


async def test_a_cached_policy_of_another_hash_is_not_used():
    cache = MemorySafetyPolicyCache()
    await cache.set("mine", descriptor_from_json(json.loads(POLICY_BYTES) | {"version": "2"}))
    options = {"url": ORIGIN + "/p", "hash": POLICY_HASH, "cache": cache, "cache_key": "mine"}
    assert await ask({"/p": POLICY_BYTES}, load_safety_policy, **options) == (POLICY, ["/p"])
    assert await ask({}, load_safety_policy, **options) == (POLICY, [])


async def test_a_policy_may_be_pinned_by_the_digits_alone():
    wanted = POLICY_HASH.removeprefix("sha256:").upper()
    assert await ask({"/p": POLICY_BYTES}, load_safety_policy, url=ORIGIN + "/p", hash=wanted) == (
        POLICY,
        ["/p"],
    )
    found = await ask({BY_HASH: POLICY_BYTES}, discover_safety_policy, origin=ORIGIN, id="p/q", hash=wanted)
    assert found == (POLICY, [BY_HASH])


async def test_a_version_policy_is_optional():
    where = KNOWN + "/version-policy.json"
    document = {"minimum_version": "0.3", "required_features": ["x"]}
    assert (await ask({}, discover_version_policy, origin=ORIGIN))[0] is None
    found, _ = await ask({where: document}, discover_version_policy, origin=ORIGIN)
    assert found.required_features == ("x",)
    for bad in (500, b"x", {}):
        with pytest.raises(VersionPolicyError):
            await ask({where: bad}, discover_version_policy, origin=ORIGIN)


# Dictionaries


async def test_a_dictionary_is_found_by_its_hash():
    name = hash_zstd_dict(b"dictionary")
    where = f"{KNOWN}/dicts/{name.removeprefix('sha256:')}.zstd"
    assert await ask({where: b"dictionary"}, discover_zstd_dict, origin=ORIGIN, hash=name) == (
        b"dictionary",
        [where],
    )
    with pytest.raises(CodecZstdDictError):
        await ask({where: b"another"}, discover_zstd_dict, origin=ORIGIN, hash=name)
    with pytest.raises(MapDiscoveryNotFoundError):
        await ask({}, discover_zstd_dict, origin=ORIGIN, hash=name)


async def test_a_map_lists_its_dictionaries():
    name = hash_zstd_dict(b"dictionary")
    listed = [
        {"format": fmt, "url": "d/1.zstd", "hash": name, "size_bytes": 10} for fmt in ("msgpack", "protobuf")
    ]
    one = parse_map(json.dumps(json.loads(MAP) | {"zstd_dictionaries": listed}).encode())

    async def load(client):
        return await load_map_dicts(one, formats=("msgpack",), base_url=ORIGIN + "/x/m.json", client=client)

    assert await ask({"/x/d/1.zstd": b"dictionary"}, load) == ({name: b"dictionary"}, ["/x/d/1.zstd"])


async def test_all_names_are_there():
    assert all(hasattr(discovery, name) for name in discovery.__all__)


@pytest.mark.parametrize(
    "url", ["http://[", "//[::1", "https://ex\u2100mple/", "http://a:99999/", "file:///x"]
)
@pytest.mark.parametrize("base_url", [None, ORIGIN + "/m.json", "http://["])
async def test_a_malformed_url_of_a_dictionary_is_a_typed_error(url, base_url):
    listed = ZstdDictionary("msgpack", url, "sha256:" + "0" * 64)
    tokenizer_map = TokenizerMap("a/b", "2", 1, {"a": 0}, zstd_dictionaries=[listed])
    with pytest.raises(MapDiscoveryError, match="invalid URL"):
        await load_map_dicts(tokenizer_map, base_url=base_url)
