"""The recorded results of tools belong to the item or the round that called them."""

from types import SimpleNamespace

import pytest

from codec_agents.records.recorded import RecordedTurn
from codec_agents.replay.tools import RecordedTools
from codec_agents.tools import tool
from codec_agents.tools.calls import ToolCall
from codec_agents.tools.dispatch import Dispatcher


@tool(approval=True)
def pay(amount: int) -> int:
    """Pay."""
    return amount


@pytest.mark.parametrize(("item", "waits"), [("ask[0]/model", False), ("ask[1]/model", True)])
def test_a_result_of_one_item_approves_no_call_of_another(item: str, waits: bool) -> None:
    line = {"call": [3, 0], "status": "ok", "told": "1", "seconds": 0.0}
    turn = RecordedTurn("ask[0]/model", 1, [], 0, tools=[line])
    tools = RecordedTools(SimpleNamespace(turns=[turn]), "ask/model", Dispatcher([pay]), run_others=True)
    call = ToolCall(0, "pay", {"amount": 1}, None, "", start=3, stop=9)
    assert tools.waits_for_approval(call, item) is waits
