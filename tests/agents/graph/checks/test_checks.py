"""What is wrong or suspicious in a declaration: one small pipeline for each rule."""

# ruff: noqa: E501 - a table of pipelines is read by its columns

import pytest

from codec_agents.graph import Declaration, check

HEAD = """\
pipeline: p
engines: {A: {kind: scripted, script: hi}}
nodes:
"""

M = "{map: demo/bytes, prompt: '{x}'}"
"""A model with one slot."""

CASES = {
    # edges
    "unknown source": (f"m: {M}", "n.answer -> m.x", "error edges[0].from: there is no node 'n'"),
    "unknown target": (f"m: {M}", "q -> m.x, q -> n.x", "error edges[1].to: there is no node 'n'"),
    "unknown port": (f"m: {M}", "q -> m, m.anser -> out", "error edges[1].from: 'm' has no port 'anser'; did you mean 'answer'?"),
    "unknown slot": (f"m: {M}", "q -> m.y, m -> out", "error edges[0].to: 'm' has no slot 'y'; there are slots 'x'"),
    "several slots": ("m: {map: demo/bytes, prompt: '{x}{y}'}", "q -> m, m -> out", "error edges[0].to: 'm' has several slots; name the slot: m.x, m.y"),
    "no slots": ("m: {map: demo/bytes, prompt: 'hi'}", "q -> m, m -> out", "error edges[0].to: 'm' has no slots"),
    "out of a sink": (f"s: {{kind: sink}}\n  m: {M}", "q -> m, m -> s, s -> out", "error edges[2].from: 's' is a sink"),
    "into an input": (f"q: {{kind: input}}\n  m: {M}", "q -> m, m -> q", "error edges[1].to: 'q' is an input"),
    "slot of a sink": (f"s: {{kind: sink}}\n  m: {M}", "q -> m, m -> s.x", "error edges[1].to: the sink 's' has no slots"),
    "twice the same": (f"m: {M}", "q -> m, q -> m.x, m -> out", "error edges[1]: the same edge as edges[0]"),
    "unfilled slot": ("m: {map: demo/bytes, prompt: '{x} {y}'}", "q -> m.x, m -> out", "error nodes.m.prompt.user: nothing fills the slot 'y'; add an edge to `m.y`"),
    "unfilled in system": ("m: {map: demo/bytes, prompt: {system: '{y}', user: '{x}'}}", "q -> m.x, m -> out", "error nodes.m.prompt.system: nothing fills the slot 'y'"),
    "unfilled argument": ("f: {call: 'a:b', inputs: [x, y], wants: text}", "q -> f.x, f -> out", "error nodes.f.inputs: nothing fills the slot 'y'"),
    "prefill of no prompt": (f"m: {M}", "q -> m, {from: m, to: out, prefill: ahead}", "error edges[1].prefill: 'out' has no prompt to read ahead"),
    "reasoning of an input": (f"m: {M}", "{from: q, to: m, reasoning: true}, m -> out", "error edges[0].reasoning: only the answer of a model"),
    "fallback never taken": (f"m: {M}\n  n: {M}", "q -> m, q -> n, m -> out, n -> out, {from: m, to: n, fallback: true}", "error edges[4].fallback: the fallback edge is never taken"),
    "fallback of a whole": (f"n: {{pipeline: {{nodes: {{m: {M}}}, edges: [i -> m, m -> o]}}, policy: {{on_failure: fallback}}}}\n  k: {M}", "q -> n, q -> k, n -> out, k -> out, {from: n, to: k, fallback: true}", "error edges[4].fallback: the fallback edge is never taken: 'n' is taken apart"),
    "fallback of an input": (f"m: {M}", "q -> m, m -> out, {from: q, to: out, fallback: true}", "error edges[2].fallback: the fallback edge is never taken: 'q' is an input"),
    "no fallback edge": ("m: {map: demo/bytes, prompt: '{x}', policy: {on_failure: fallback}}", "q -> m, m -> out", "error nodes.m.policy.on_failure: there is no fallback edge"),
    # text and ids
    "text into an id sink": ("s: {text: false}", "q -> s", "error edges[0]: 'q.value' gives text, and the sink takes ids"),
    "text into a function of ids": ("f: {call: 'a:b'}", "q -> f, f -> out", "error nodes.f: 'q.value' gives text, and 'f' has no map"),
    "a join of text and ids": (f"m: {M}\n  j: {{kind: join}}", "q -> m, q -> j, m -> j, j -> out", "error nodes.j: it joins text and ids"),
    # nodes
    "ids without a map": ("i: {type: ids}", "i -> out", "error nodes.i: ids mean nothing without a map"),
    "ids for a text input": ("i: {type: text, default: [1]}", "i -> out", "error nodes.i.default: ids as the default"),
    "text for an id input": ("i: {type: ids, map: demo/bytes, default: x}", "i -> out", "error nodes.i.default: text as the default"),
    "unknown engine": ("m: {map: demo/bytes, engine: B, prompt: '{x}'}", "q -> m, m -> out", "error nodes.m.engine: there is no engine 'B'; give a URL, or declare it under `engines`; in Python, by `pipeline.engine(...)`"),
    "no map": ("m: {prompt: '{x}'}", "q -> m, m -> out", "error nodes.m: no map is named"),
    "no map of a model of the hub": ("m: {model: Qwen/Qwen2.5-7B, prompt: '{x}'}", "q -> m, m -> out", "error nodes.m: no map is named; name as its `map` hf:Qwen/Qwen2.5-7B"),
    "router to nowhere": ("r: {map: demo/bytes, prompt: '{x}', labels: {yes: n}, default: n}", "q -> r", "error nodes.r.labels.yes: there is no node 'n'"),
    "router to a sink": ("r: {map: demo/bytes, prompt: '{x}', labels: {yes: out}, default: out}", "q -> r, q -> out", "error nodes.r.labels.yes: 'out' is a sink, which a router cannot start"),
    "router without default": (f"r: {{map: demo/bytes, prompt: '{{x}}', labels: {{yes: m}}}}\n  m: {M}", "q -> r, q -> m, m -> out", "warning nodes.r: without a default"),
    "empty label": (f"r: {{map: demo/bytes, prompt: '{{x}}', labels: {{' ': m}}, default: m}}\n  m: {M}", "q -> r, q -> m, m -> out", "error nodes.r.labels: an empty label"),
    "labels that differ in case": (f"r: {{map: demo/bytes, prompt: '{{x}}', labels: {{Red: m, RED: m}}, default: m}}\n  m: {M}", "q -> r, q -> m, m -> out", "error nodes.r.labels.RED: the label differs from 'Red' only in case, which does not count in answers; give it another text"),
    "join of too many": (f"m: {M}\n  j: {{first: 2}}", "q -> m, m -> j, j -> out", "error nodes.j.first: it waits for 2 edges, and has 1"),
    "join with two conditions": (f"m: {M}\n  j: {{first: 1, until: 'a:b'}}", "q -> m, m -> j, j -> out", "error nodes.j: both `first` and `until`"),
    "body without sinks": ("n: {pipeline: {nodes: {i: {kind: input}}}}", "q -> n", "warning nodes.n: the pipeline inside has no sink"),
    "out of no sink": ("n: {pipeline: {nodes: {i: {kind: input}}}}", "q -> n, n -> out", "error edges[1].from: 'n' has no ports; give the node a port"),
    "body without sinks inside": ("n: {pipeline: {nodes: {i: {kind: input}}}}", "q -> n", "warning nodes.n.pipeline: nothing leaves the pipeline"),
    "map over nothing": ("n: {over: z, each: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.over: the pipeline inside has no input 'z'"),
    "map over one of two": ("n: {each: {edges: [i -> o, k -> o]}}", "q -> n.i, q -> n.k, n -> out", "error nodes.n: which input gets the items is not clear"),
    "feedback from nowhere": ("n: {turns: 2, feedback: {z: i}, loop: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.feedback.z: the pipeline inside has no sink 'z'"),
    "feedback to nowhere": ("n: {turns: 2, feedback: {o: z}, loop: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.feedback.o: the pipeline inside has no input 'z'"),
    "condition on nothing": ("n: {turns: 2, feedback: {o: i}, until: {sink: z, starts_with: a}, loop: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.until.sink: the pipeline inside has no sink 'z'"),
    "condition behind a space": ("n: {turns: 2, feedback: {o: i}, until: {sink: o, starts_with: ' a'}, loop: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.until.starts_with: ' a' is never found: answers are read from behind their white space; write 'a'"),
    "condition of white space": ("n: {turns: 2, feedback: {o: i}, until: {sink: o, starts_with: ' '}, loop: {edges: [i -> o]}}", "q -> n, n -> out", "error nodes.n.until.starts_with: ' ' is never found: answers are read from behind their white space; give it a text"),
    "loop without feedback": ("n: {turns: 2, loop: {edges: [i -> o]}}", "q -> n, n -> out", "warning nodes.n: nothing goes back"),
    "no reference": ("f: {call: 'a b:c', wants: text}", "q -> f, f -> out", "error nodes.f.call: 'a b:c' is no reference"),
    "no reference to a tool": ("m: {map: demo/bytes, prompt: '{x}', tools: ['a:_b']}", "q -> m, m -> out", "error nodes.m.tools[0]: 'a:_b' is no reference"),
    "a tool twice": ("m: {map: demo/bytes, prompt: '{x}', tools: ['a:b', 'a:b']}", "q -> m, m -> out", "error nodes.m.tools: a:b is given twice"),
    "names that differ in case": (f"m: {M}\n  M: {M}", "q -> m, q -> M, m -> out, M -> out", "warning nodes.M: differs from 'm' only in case"),
    # the whole
    "circle": (f"m: {M}\n  n: {M}", "m -> n, n -> m, n -> out", "error nodes.m: a circle without a limit: m -> n -> m; put that part into a loop node"),
    "circle of one": (f"m: {M}", "q -> m, m -> m, m -> out", "error nodes.m: a circle without a limit: m -> m"),
    "circle through a router": (f"r: {{map: demo/bytes, prompt: '{{x}}', labels: {{a: m}}, default: m}}\n  m: {M}", "m -> r, q -> m, m -> out", "error nodes.r: a circle without a limit"),
    "sink without source": (f"m: {M}\n  s: {{kind: sink}}", "q -> m, m -> out", "error nodes.s: no edge leads to this sink"),
    "sink of too much": ("s: {text: true, to: stdout, file: x}", "q -> s", "error nodes.s: more than one of"),
    "no sink": (f"m: {M}", "q -> m", "warning the pipeline: nothing leaves the pipeline"),
    "unused input": (f"i: {{kind: input}}\n  m: {M}", "q -> m, m -> out", "warning nodes.i: nothing uses this input"),
    "dead end": (f"m: {M}\n  n: {M}", "q -> m, m -> out, m -> n", "warning nodes.n: nothing that it gives reaches a sink"),
    "tool calls as text": (f"m: {M}", "q -> m, m -> out, m.tool_calls -> calls", "warning edges[2]: 'calls' shows tool calls as text"),
    "reasoning into a prompt": (f"m: {M}\n  n: {M}", "q -> m, m.reasoning -> n, n -> out", "warning edges[1]: the reasoning of 'm' goes into the prompt of 'n'"),
    "two maps in one sink": (f"m: {M}\n  n: {{map: demo/words, prompt: '{{x}}'}}\n  s: {{text: false}}", "q -> m, q -> n, m -> s, n -> s", "warning nodes.s: it mixes ids of the maps demo/bytes, demo/words"),
    "unused engine": ("s: {text: true}", "q -> s", "warning engines.A: no node uses 'A'"),
    # inside
    "inside a body": ("n: {pipeline: {nodes: {m: {prompt: '{x}'}}, edges: [i -> m.x, m -> o]}}", "q -> n, n -> out", "error nodes.n.pipeline.nodes.m: no map is named"),
}  # fmt: skip


def told(nodes: str, edges: str) -> list[str]:
    text = f"{HEAD}  {nodes}\nedges: [{edges}]\n"
    faults = Declaration.from_yaml(text).check()
    assert all(fault.remedy for fault in faults), "every fault says what would do"
    return [f"{fault.severity} {fault.place}: {fault.found}; {fault.remedy}" for fault in faults]


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_rule(case):
    nodes, edges, expected = CASES[case]
    faults = told(nodes, edges)
    assert any(fault.startswith(expected) for fault in faults), faults


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_every_fault_has_its_file_and_line(case, tmp_path):
    nodes, edges, _ = CASES[case]
    path = tmp_path / "p.yaml"
    path.write_text(f"{HEAD}  {nodes}\nedges: [{edges}]\n")
    for fault in Declaration.from_yaml(path).check():
        assert fault.file == str(path)
        assert fault.line
        assert fault.remedy != "see docs/pipelines.md"


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name][2].startswith("error")])
def test_an_error_is_told_once_and_nothing_follows_from_it(case):
    faults = [fault for fault in told(*CASES[case][:2]) if fault.startswith("error")]
    expected = 2 if case in TWO_SIDED else 1
    assert len(faults) == expected, faults


TWO_SIDED = {"router to nowhere", "router to a sink"}
"""A label and the default name the same wrong node."""


def test_errors_come_before_warnings():
    severities = [fault.split()[0] for fault in told(f"m: {M}\n  i: {{kind: input}}", "q -> m.y, m -> out")]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}


def test_a_chain_of_thousands_is_checked_without_recursion():
    p = Declaration("long").input("n0", type="text")
    for number in range(1, 3000):
        p.function(f"n{number}", "tools:same", wants="text")
        p.connect(f"n{number - 1}", f"n{number}")
    p.sink("out").connect("n2999", "out")
    assert check(p.spec) == []


def test_a_model_may_start_by_itself():
    assert told("m: {map: demo/bytes, prompt: hi}", "m -> out") == []


def test_an_engine_may_be_a_url_or_the_only_one():
    assert told("m: {map: demo/bytes, prompt: hi}\n  n: {map: demo/bytes, engine: 'http://x', prompt: hi}",
                "m -> out, n -> out") == []  # fmt: skip


def test_an_optional_input_of_a_body_needs_no_edge():
    body = "{nodes: {k: {kind: input, default: hi}}, edges: [i -> o, k -> o]}"
    faults = told(f"n: {{pipeline: {body}}}", "q -> n.i, n -> out")
    assert [fault for fault in faults if fault.startswith("error")] == []
