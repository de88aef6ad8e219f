"""Halves of surrogate pairs, which the escapes of JSON can spell, in calls and results: UTF-8 has none."""

import json

import pytest

from tests.agents.dialects.families import Bench, lanes, small_map_of

HALF = "\\ud800"
CALLS = {
    "in every text": f'{{"name":"f{HALF}","arguments":{{"a{HALF}":"{HALF}"}},"id":"i{HALF}"}}',
    "beside arguments that are none": f'{{"name":"f{HALF}","arguments":"{HALF}","id":"i{HALF}"}}',
    "beside a name that occurs twice": f'{{"name":"f{HALF}","arguments":{{"{HALF}":1,"{HALF}":2}}}}',
    "in a list of arguments": f'{{"name":"f{HALF}","arguments":["{HALF}"]}}',
}


@pytest.mark.parametrize("payload", CALLS.values(), ids=CALLS)
def test_what_is_read_of_a_call_is_text_that_utf_8_can_carry(payload):
    family = Bench("qwen3", small_map_of("qwen3"))
    ids = family.ids([f"<tool_call>{payload}</tool_call><|im_end|>"])
    [region] = lanes(family.read(family.prompt(), ids, [], "stop"))[2]
    [call] = family.bound.parse_calls(region)
    texts = [call.name, call.call_id, call.error, call.arguments, call.text]
    json.dumps(texts, ensure_ascii=False).encode()  # raises where one has a half
    if call.arguments is not None:
        assert (call.name, call.call_id) == ("f\ufffd", "i\ufffd")
        assert call.arguments == {"a\ufffd": "\ufffd"}


def test_what_is_read_of_a_result_is_text_that_utf_8_can_carry():
    family = Bench("mistral-v3", small_map_of("mistral-v3"))
    call = f'[TOOL_CALLS][{{"name": "f", "arguments": {{}}, "id": "i{HALF}"}}]</s>'
    result = f'[TOOL_RESULTS]{{"content": "c{HALF}", "call_id": "i{HALF}"}}[/TOOL_RESULTS]'
    messages = family.bound.read(family.ids([f"<s>[INST]Hi[/INST]{call}{result}"])).messages
    assert (messages[-1].content, messages[-1].call_id) == ("c\ufffd", "i\ufffd")
    assert messages[-2].calls[0].id == "i\ufffd"
