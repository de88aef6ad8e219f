"""Who leads to whom: circles, reachability, layers."""

from hypothesis import given
from hypothesis import strategies as st

from codec_agents.graph.checks.topology import cycles, layers, reachable, reversed_successors


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 8))
    names = [f"n{number}" for number in range(size)]
    pairs = draw(st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=20))
    return {name: tuple(sorted(target for source, target in pairs if source == name)) for name in names}


def test_circles_are_shown_along_their_way():
    assert cycles({"a": ("b",), "b": ("c",), "c": ("b", "d"), "d": ()}) == [["b", "c"]]
    assert cycles({"a": ("a",)}) == [["a"]]
    assert cycles({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}) == []


@given(graphs())
def test_a_circle_is_found_exactly_where_one_is(after):
    found = cycles(after)
    has_circle = any(name in reachable(after, after[name]) for name in after)
    assert bool(found) == has_circle
    for circle in found:
        ways = zip(circle, [*circle[1:], circle[0]], strict=True)
        assert all(target in after[source] for source, target in ways)


@given(graphs())
def test_reversed_twice_is_the_same(after):
    twice = reversed_successors(reversed_successors(after))
    assert {name: set(names) for name, names in twice.items()} == {
        name: set(names) for name, names in after.items()
    }


@given(graphs())
def test_every_node_has_one_layer_and_stands_after_what_leads_to_it(after):
    rows = layers(after)
    depth = {name: number for number, row in enumerate(rows) for name in row}
    assert sorted(name for row in rows for name in row) == sorted(after)
    if not cycles(after):
        assert all(depth[target] > depth[source] for source in after for target in after[source])
