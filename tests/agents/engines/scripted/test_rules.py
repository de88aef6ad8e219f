"""Scripts without code."""

import pytest

from codec_agents.engines.scripted.prompt_view import PromptView
from codec_agents.engines.scripted.rules import Rules, rules_or_script
from codec_agents.testing import Call, Raw, Refuse, Say, ScriptError, Stop, Think, Wait

RULES = [
    {
        "when": "(?i)weather",
        "turn": 1,
        "say": [{"think": "hm"}, {"call": {"name": "weather", "arguments": {"city": "Oslo"}}}],
    },
    {"when": "weather", "say": "It is {results}. {unknown} {user}"},
    {"system": "formal", "say": [{"say": "Good day."}, {"wait": 0.1}, {"raw": "x"}, {"stop": "length"}]},
    {"when": "^fail$", "say": {"refuse": 503}},
]


@pytest.fixture
def script():
    return Rules.parse(RULES)


def see(words, chat, *turns):
    return PromptView(chat(words, *turns), words)


def test_the_first_rule_that_fits_decides(script, words, chat):
    assert script(see(words, chat, ("user", "Weather in Oslo?"))) == [
        Think("hm"),
        Call("weather", city="Oslo"),
    ]
    formal = see(words, chat, ("system", "be formal"), ("user", "hi"))
    assert script(formal) == [Say("Good day."), Wait(0.1), Raw("x"), Stop("length")]
    assert script(see(words, chat, ("user", "fail"))) == [Refuse(503)]


def test_names_are_filled_in_once(script, words, chat):
    result = "<tool_response>\n{user} degrees\n</tool_response>"
    prompt = see(words, chat, ("user", "weather"), ("assistant", "."), ("user", result))
    assert script(prompt) == [Say("It is {user} degrees. {unknown} weather")]


def test_a_prompt_that_no_rule_fits_is_an_error(script, words, chat):
    with pytest.raises(ScriptError, match=r"no rule fits turn 1 .* with the user text 'something else'"):
        script(see(words, chat, ("user", "something else")))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"say": [{"shout": "x"}]}, "rule 1 has a piece"),
        ({"say": [{"say": "a", "think": "b"}]}, "rule 1 has a piece"),
        ({"when": "x"}, "no field 'say'"),
        ({"say": "x", "whenn": "y"}, "unknown field 'whenn'"),
    ],
)
def test_mistakes_are_named(rule, message):
    with pytest.raises(ScriptError, match=message):
        Rules.parse([rule])


def test_what_a_declaration_may_hold(words, chat):
    prompt = see(words, chat, ("user", "x"))
    assert rules_or_script("always this")(prompt) == [Say("always this")]
    assert rules_or_script([{"say": "y"}])(prompt) == [Say("y")]
    assert rules_or_script(lambda _: "z")(prompt) == "z"
    with pytest.raises(ScriptError, match="not int"):
        rules_or_script(3)
