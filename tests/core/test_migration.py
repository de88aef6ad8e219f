"""Programs written for the existing client run after changing the import: these give there what they give here.

Each is an expression over `c`, the package; `run` awaits, `gather` reads an async iterator to its end.
Where the existing client is installed too, `python -m tests.core.test_migration codecai` prints what it makes of
them.
"""

# ruff: noqa: E501 - programs read best in one line

import asyncio
import hashlib
import importlib
import json
import pickle  # noqa: F401 - a program uses it
import sys
from types import SimpleNamespace  # noqa: F401 - a program uses it

import httpx
import msgspec
import pytest

MAP = json.dumps(
    {
        "id": "a/b",
        "version": "2",
        "vocab_size": 7,
        "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3, "</s>": 4, "Ġ": 5, "c": 6},
        "encoder": "byte_level",
        "merges": ["a b"],
        "pre_tokenizer_pattern": r" ?\p{L}+|\s+",
        "special_tokens": {"<s>": 3, "</s>": 4},
    }
).encode()
WORDS = {"id": "c/d", "version": "1", "vocab_size": 4, "tokens": {"0": "a", "1": "ab", "2": "abc", "3": " "}}
HASH = "sha256:" + hashlib.sha256(MAP).hexdigest()
POLICY = {
    "id": "p/q",
    "version": "1",
    "tokenizers": ["a/b"],
    "categories": [{"name": "n", "action": "stop", "description": "é"}],
    "classifier": {"family": "f", "host": "server"},
    "extra": 1,
}
PROTOBUF = b"\x0a\x02\x01\x02\x10\x01\x1a\x04stop"
FRAMES = msgspec.msgpack.encode({"ids": [1, 2], "done": False}) + msgspec.msgpack.encode(
    {"ids": [], "done": True, "finish_reason": "stop"}
)
REFUSAL = {
    "error": "codec_version_required",
    "minimum_version": "0.6",
    "required_features": ["x"],
    "client_version": "0.4",
}

PROGRAMS = {
    # maps
    "(m.id, m.version, m.vocab_size, m.encoder, m.vocab['ab'], m.special_tokens['<s>'])": "('a/b', '2', 7, 'byte_level', 2, 3)",
    "(list(m.merges), len(m.merges), m.merges[0], m.merges == ['a b'], m.merges + ['x y'])": "(['a b'], 1, 'a b', True, ['a b', 'x y'])",
    "c.TokenizerMap('x/y', '2', 1, {'a': 0}).vocab": "{'a': 0}",
    "pickle.loads(pickle.dumps(m)) == m": "True",
    "refused(lambda: c.TokenizerMap.from_json({}))": "'TokenizerMapValidationError'",
    # tokenizers
    "c.tokenize(m, 'abc ab')": "[2, 6, 5, 2]",
    "c.tokenize(m, 'a<s>b')": "[0, 3, 1]",
    "(type(c.pick_tokenizer(m)).__name__, c.pick_tokenizer(m).id, c.BPETokenizer.supports(m))": "('BPETokenizer', 'a/b', True)",
    "c.pick_tokenizer(words).encode('abcab a')": "[2, 1, 3, 0]",
    "c.LongestMatchTokenizer(words).encode(text='ab')": "[1]",
    "refused(lambda: c.BPETokenizer(words))": "'ValueError'",
    "Own(c).encode('abc')": "[3]",
    # detokenizers
    "c.detokenize(m, iter([3, 2, 6, 4]))": "'abc'",
    "c.detokenize(tokenizer_map=m, ids=(3, 2), render_special=True)": "'<s>ab'",
    "c.detokenize(m, [99, -1])": "'��'",
    "(lambda d: [d.render([2], partial=True), d.render(ids=[6]), d.reset()])(c.Detokenizer(m))": "['ab', 'c', None]",
    # translation
    "c.translate(m, m, [2, 6, 3])": "[2, 6]",
    "(lambda t: (t.from_id, t.to_id, t.translate([2, 6]), t.finish(), t.reset()))(c.Translator(m, m))": "('a/b', 'a/b', [2, 6], [], None)",
    "sorted(c.static_translation_table(m, m).items())": "[(0, [0]), (1, [1]), (2, [2]), (5, [5]), (6, [6])]",
    # regions
    "[(e.kind, e.ids) for e in c.ToolWatcher(m, '<s>', '</s>').feed([0, 3, 1, 2, 4, 6, 3, 4])]": "[('passthrough', (0,)), ('region', (1, 2)), ('passthrough', (6,)), ('region', ())]",
    "(lambda w: (w.start_id, w.end_id, w.inside, w.feed([3, 1]), w.inside, w.reset(), w.inside))(c.ToolWatcher(map=m, start_name='<s>', end_name='</s>'))": "(3, 4, False, [], True, None, False)",
    "refused(lambda: c.ToolWatcher(m, '<no>', '</s>'))": "'ToolWatcherError'",
    # frames
    "c.CodecFrame((1,), True) == c.CodecFrame(ids=(1,), done=True, finish_reason=None)": "True",
    "[(f.ids, f.done, f.finish_reason) for f in gather(c.decode_msgpack_stream(body(FRAMES)))]": "[((1, 2), False, None), ((), True, 'stop')]",
    "[f.ids for f in gather(c.decode_stream(body(FRAMES[:5], FRAMES[5:]), fmt='msgpack'))]": "[(1, 2), ()]",
    "[f.ids for f in gather(c.decode_protobuf_stream(body(len(PROTOBUF).to_bytes(4, 'big'), PROTOBUF)))]": "[(1, 2)]",
    "(lambda f: (f.ids, f.done, f.finish_reason))(c.decode_protobuf_frame(data=bytearray(PROTOBUF)))": "((1, 2), True, 'stop')",
    "refused(lambda: gather(c.decode_msgpack_stream(body(bytes([0xC1])))))": "'ValueError'",
    # loading
    "served({'/m': MAP}, lambda client: c.load_map(url='https://x.org/m', hash=HASH, client=client)).id": "'a/b'",
    "served({'/m': MAP}, lambda client: c.load_map(url='https://x.org/m', hash=HASH[7:].upper(), client=client)).id": "'a/b'",
    "refused(lambda: served({'/m': MAP}, lambda client: c.load_map(url='https://x.org/m', hash='sha256:' + '0' * 64, client=client)))": "'TokenizerMapHashMismatchError'",
    "served(POINTED, lambda client: c.discover_map(origin='https://x.org/', id='a/b', client=client)).vocab_size": "7",
    "refused(lambda: served({}, lambda client: c.discover_map(origin='https://x.org', id='no/map', client=client)))": "'MapDiscoveryNotFoundError'",
    "refused(lambda: served({}, lambda client: c.discover_map(origin='https://x.org', id='../x', client=client)))": "'MapDiscoveryError'",
    "served(POINTED, lambda client: c.discover_index(origin='https://x.org', client=client)).maps[0].hash == HASH": "True",
    "run(cached(c.MemoryMapCache(), m)) is m": "True",
    "run(cached(OwnCache(c), m)) is m": "True",
    "served({'/m': MAP}, lambda client: twice(lambda: c.load_map(url='https://x.org/m', client=client, cache=OwnCache(c))))": "True",
    # addresses
    "c.well_known_map_url('https://x.org/', 'a/b')": "'https://x.org/.well-known/codec/maps/a/b.json'",
    "c.well_known_policy_hash_url('https://x.org', '0' * 64)[-20:]": "'" + "0" * 15 + ".json'",
    # policies
    "c.hash_safety_policy(c.descriptor_from_json(POLICY))": "'sha256:b973dadd9b4242d57e88ada848e73f99ac5ee6af4bc6a3c5ddf18d4405e50572'",
    "c.validate_safety_policy(POLICY)": "None",
    "refused(lambda: c.validate_safety_policy({**POLICY, 'categories': []}))": "'SafetyPolicyValidationError'",
    "served({'/p': c.descriptor_canonical_bytes(c.descriptor_from_json(POLICY))}, lambda client: c.load_safety_policy(url='https://x.org/p', client=client)).id": "'p/q'",
    "run(cached(c.MemorySafetyPolicyCache(), 5))": "5",
    # versions
    "c.with_codec_client_version({'a': 'b'}, override_version='0.3')": "{'a': 'b', 'Codec-Client-Version': '0.3'}",
    "c.parse_version_required(SimpleNamespace(status_code=200, text='', headers={}))": "None",
    "c.parse_version_required(httpx.Response(426, json=REFUSAL)).body.required_features": "('x',)",
    "c.parse_version_policy_document({'minimum_version': '0.3', 'required_features': []}).minimum_version": "'0.3'",
    # dictionaries
    "c.select_zstd_dict_for_response({'content-encoding': 'zstd', 'codec-zstd-dict': c.hash_zstd_dict(b'd')}, loaded_dicts={c.hash_zstd_dict(b'd'): b'd'})": "b'd'",
    "c.select_zstd_dict_for_response({'Content-Encoding': 'gzip'}, loaded_dicts={})": "None",
    "refused(lambda: c.select_zstd_dict_for_response({'content-encoding': 'zstd'}, loaded_dicts={}))": "'CodecZstdDictError'",
    "(c.decode_byte_level_token('Ġa'), c.encode_byte_level_chars(data=b' a'), c.METASPACE)": "(b' a', 'Ġa', '▁')",
}  # fmt: skip


def names(c):
    """Return what the expressions use, for a package."""
    return {
        **globals(),
        "c": c,
        "m": c.TokenizerMap.from_json(MAP),
        "words": c.TokenizerMap.from_json(WORDS),
        "run": asyncio.run,
        "refused": lambda call: refused(c, call),
    }


def refused(c, call):
    """Return the name by which the existing client knows the error of a call."""
    try:
        call()
    except Exception as error:
        known = (kind.__name__ for kind in type(error).__mro__)
        return next(name for name in known if name in (*ERRORS, "ValueError"))
    return None


ERRORS = (
    "CodecZstdDictError",
    "MapDiscoveryNotFoundError",
    "MapDiscoveryError",
    "SafetyPolicyValidationError",
    "TokenizerMapHashMismatchError",
    "TokenizerMapValidationError",
    "ToolWatcherError",
)


async def body(*chunks):
    for chunk in chunks:
        yield chunk


def gather(frames):
    async def read():
        return [frame async for frame in frames]

    return asyncio.run(read())


POINTER = {"id": "a/b", "url": "https://x.org/m", "hash": HASH}
POINTED = {
    "/m": MAP,
    "/.well-known/codec/maps/a/b.json": json.dumps(POINTER).encode(),
    "/.well-known/codec/index.json": json.dumps({"codec_version": "0.4", "maps": [POINTER]}).encode(),
}


def served(routes, call):
    """Call something with a client whose server has these documents."""

    def answer(request):
        content = routes.get(request.url.path)
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await call(client)

    return asyncio.run(ask())


async def twice(load):
    return (await load()).id == (await load()).id


async def cached(cache, value):
    await cache.set("key", value)
    assert await cache.get("other") is None
    return await cache.get("key")


def OwnCache(c):
    class Kept(c.MapCache):
        def __init__(self):
            self.kept = {}

        async def get(self, key):
            return self.kept.get(key)

        async def set(self, key, value):
            self.kept[key] = value

    return Kept()


def Own(c):
    class Counting(c.Tokenizer):
        @property
        def id(self):
            return "own"

        def encode(self, text):
            return [len(text)]

    return Counting()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_for_the_existing_client_gives_what_it_gave(program):
    import codec_core

    assert repr(eval(program, names(codec_core))) == PROGRAMS[program]


if __name__ == "__main__":
    package = importlib.import_module(sys.argv[1])
    for program, expected in PROGRAMS.items():
        found = repr(eval(program, names(package)))
        print("ok  " if found == expected else f"{found} for", program)
