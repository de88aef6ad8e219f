"""Calls with values that are no plain text or number, as the chat templates of their families write them."""

from types import SimpleNamespace

import pytest

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.dialects.writing.python_tools import python_tool
from codec_agents.exceptions import PromptError
from tests.agents.dialects.families import small_map_of

ARGUMENTS = {
    "unit": "c",
    "tags": ["z", "a"],
    "spots": [{"lon": 1.5, "at": "x"}],
    "opt": {"deep": False, "b": "q"},
    "when": None,
}
WRITTEN = {
    # google-gemma-4-31B-it.jinja
    "gemma-4": '{opt:{b:<|"|>q<|"|>,deep:false},spots:[{at:<|"|>x<|"|>,lon:1.5}],'
    'tags:[<|"|>z<|"|>,<|"|>a<|"|>],unit:<|"|>c<|"|>,when:None}',
    # LFM2.5-8B-A1B.jinja
    "lfm2.5": "weather(unit='c', tags=['z', 'a'], spots=[{'lon': 1.5, 'at': 'x'}], "
    'opt={"deep": false, "b": "q"}, when=None)',
    # lfm2_v2.jinja of trl
    "lfm2": """weather(unit='c', tags=["z", "a"], spots=[{"lon": 1.5, "at": "x"}], """
    'opt={"deep": false, "b": "q"}, when=None)',
    # ByteDance-Seed-OSS.jinja
    "seed-oss": "<parameter=unit>c</parameter>\n<parameter=tags>['z', 'a']</parameter>\n"
    "<parameter=spots>[{'lon': 1.5, 'at': 'x'}]</parameter>\n"
    "<parameter=opt>{'deep': False, 'b': 'q'}</parameter>\n<parameter=when>None</parameter>\n",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_values_are_written_as_the_template_does_and_read_back(name):
    family = BoundDialect(get_dialect(name), small_map_of(name))
    call = MessageCall("weather", ARGUMENTS, None)
    messages = [Message(role="user", content="Hi"), Message(role="assistant", calls=(call,))]
    ids = family.write([*messages, Message(role="tool", content="sun")])
    assert WRITTEN[name] in family.spelled(ids)
    [read] = [message for message in family.read(ids).messages if message.role == "assistant"]
    assert [each.arguments for each in read.calls] == [ARGUMENTS]


def test_a_python_tool_without_parameters():
    """As ByteDance-Seed-OSS.jinja writes it."""
    tool = SimpleNamespace(name="clock", description="Say the time.", parameters={"type": "object"})
    assert python_tool(tool) == 'def clock():\n    """\n    Say the time.\n\n\n\n    """'


def test_what_is_null_is_left_out_where_a_family_has_no_form_for_it():
    """As MiniMax-M3.jinja writes it."""
    family = BoundDialect(get_dialect("minimax-m3"), small_map_of("minimax-m3"))
    call = MessageCall("weather", {"when": None, "at": {"lon": 1.5, "lat": None}, "city": "Oslo"}, None)
    messages = [Message(role="user", content="Hi"), Message(role="assistant", calls=(call,))]
    ids = family.write([*messages, Message(role="tool", content="sun")])
    [read] = [message for message in family.read(ids).messages if message.role == "assistant"]
    assert [each.arguments for each in read.calls] == [{"at": {"lon": 1.5}, "city": "Oslo"}]
    in_list = Message(role="assistant", calls=(MessageCall("weather", {"days": [None]}, None),))
    with pytest.raises(PromptError, match="days"):
        family.write([messages[0], in_list, Message(role="tool", content="sun")])
