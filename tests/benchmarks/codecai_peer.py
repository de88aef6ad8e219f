"""The existing client, measured in an interpreter of its own: it is never installed beside this project.

Run as a script by that interpreter; answers requests on stdin with lines on stdout. Imports nothing from
here.
"""

import json
import sys
import time


def main() -> None:  # noqa: C901 - one branch a request
    import_started = time.perf_counter()
    import codecai

    import_seconds = time.perf_counter() - import_started
    maps, ids = {}, {}

    def tokenizer_map(name):
        if name not in maps:
            with open(f"{folder}/{name}.json", "rb") as file:  # noqa: PTH123
                maps[name] = codecai.TokenizerMap.from_json(file.read())
        return maps[name]

    folder = ""
    state = {}
    for line in sys.stdin:
        request = json.loads(line)
        action = request["action"]
        started = time.process_time()
        if action == "setup":
            folder, texts, ids = request["folder"], request["texts"], request["ids"]
        elif action == "import":
            started = time.process_time() - import_seconds
        elif action == "load":
            with open(f"{folder}/{request['map']}.json", "rb") as file:  # noqa: PTH123
                data = file.read()
            started = time.process_time()
            codecai.TokenizerMap.from_json(data)
        elif action == "open_translator":
            source, target = tokenizer_map(request["map"]), tokenizer_map(request["to"])
            started = time.process_time()
            codecai.Translator(source, target)
        elif action == "open_detokenizer":
            source = tokenizer_map(request["map"])
            started = time.process_time()
            codecai.Detokenizer(source)
        elif action == "encode":
            key = request["map"]
            if key not in state:
                state[key] = codecai.pick_tokenizer(tokenizer_map(key))
                for text in texts["warm"]:
                    state[key].encode(text)
            fresh = texts["fresh"][request["part"]]
            started = time.process_time()
            for text in fresh:
                state[key].encode(text)
        elif action == "detokenize_each":
            detokenizer = codecai.Detokenizer(tokenizer_map(request["map"]))
            started = time.process_time()
            for number in ids[request["map"]]:
                detokenizer.render([number], partial=True)
        elif action == "detokenize_bulk":
            detokenizer = codecai.Detokenizer(tokenizer_map(request["map"]))
            started = time.process_time()
            detokenizer.render(ids[request["map"]])
        elif action == "translate":
            key = request["map"], request["to"]
            if key not in state:
                state[key] = codecai.Translator(*map(tokenizer_map, key))
                state[key].translate(ids[key[0]])
            given = ids[key[0]]
            started = time.process_time()
            for start in range(0, len(given), 8):
                state[key].translate(given[start : start + 8], partial=True)
        elif action == "memory":
            held = tokenizer_map(request["map"])
            state["memory"] = (codecai.pick_tokenizer(held), codecai.Detokenizer(held))
            for text in texts["warm"]:
                state["memory"][0].encode(text)
            with open("/proc/self/statm") as file:  # noqa: PTH123
                print(int(file.read().split()[1]) * 4096, flush=True)
            continue
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main()
