"""The existing client, measured in an interpreter of its own: it is never installed beside this project.

Run as a script by that interpreter; answers requests on stdin with lines on stdout. Imports nothing from
here.
"""

import json
import sys
import time

import codecai


def seconds_of(run):
    started = time.process_time()
    run()
    return time.process_time() - started


class Client:
    """Each public method answers one action; what has to be there before is made before it is measured."""

    def __init__(self):
        self._folder = ""
        self._texts, self._ids = {}, {}
        self._maps, self._made = {}, {}

    def _data(self, name):
        with open(f"{self._folder}/{name}.json", "rb") as file:  # noqa: PTH123
            return file.read()

    def _map(self, name):
        return self._once(self._maps, name, lambda: codecai.TokenizerMap.from_json(self._data(name)))

    def _once(self, held, key, make):
        if key not in held:
            held[key] = make()
        return held[key]

    def _tokenizer(self, name):
        tokenizer = codecai.pick_tokenizer(self._map(name))
        for text in self._texts["warm"]:
            tokenizer.encode(text)
        return tokenizer

    def _translator(self, source, target):
        translator = codecai.Translator(self._map(source), self._map(target))
        translator.translate(self._ids[source])
        return translator

    def setup(self, folder, texts, ids):
        self._folder, self._texts, self._ids = folder, texts, ids
        return 0.0

    def load(self, map):  # noqa: A002
        data = self._data(map)
        return seconds_of(lambda: codecai.TokenizerMap.from_json(data))

    def open_translator(self, map, to):  # noqa: A002
        source, target = self._map(map), self._map(to)
        return seconds_of(lambda: codecai.Translator(source, target))

    def open_detokenizer(self, map):  # noqa: A002
        source = self._map(map)
        return seconds_of(lambda: codecai.Detokenizer(source))

    def encode(self, map, part):  # noqa: A002
        tokenizer = self._once(self._made, map, lambda: self._tokenizer(map))
        return seconds_of(lambda: [tokenizer.encode(text) for text in self._texts["fresh"][part]])

    def detokenize_each(self, map):  # noqa: A002
        render = codecai.Detokenizer(self._map(map)).render
        return seconds_of(lambda: [render([number], partial=True) for number in self._ids[map]])

    def detokenize_bulk(self, map):  # noqa: A002
        render = codecai.Detokenizer(self._map(map)).render
        return seconds_of(lambda: render(self._ids[map]))

    def translate(self, map, to):  # noqa: A002
        translate = self._once(self._made, (map, to), lambda: self._translator(map, to)).translate
        ids = self._ids[map]
        cuts = range(0, len(ids), 8)
        return seconds_of(lambda: [translate(ids[start : start + 8], partial=True) for start in cuts])


def main():
    client = Client()
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("action")
        print(getattr(client, action)(**request), flush=True)


if __name__ == "__main__":
    main()
