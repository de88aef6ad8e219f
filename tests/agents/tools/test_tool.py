"""Tools: schemas from signatures, arguments checked against them, sets of tools."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import Unpack

from codec_agents.exceptions import ToolDefinitionError
from codec_agents.tools.calls import ToolContext
from codec_agents.tools.tool import Toolset, make_tool, tool


class Place(BaseModel):
    """A place."""

    city: str
    country: str = "NO"


@dataclasses.dataclass
class Stay:
    nights: int
    guests: int = 1


@tool
async def book(
    place: Place,
    stay: Stay,
    kind: Literal["room", "flat"],
    note: Annotated[str, "for the host"] = "",
    budget: Annotated[float | None, Field(description="per night", gt=0)] = None,
    *,
    context: ToolContext,
) -> str:
    """Book a stay.

    It is not paid yet.

    Args:
        place: where
        kind: what sort of place
        note: not this text, the annotation's
    """
    return f"{place.city} {stay.nights} {kind} {context.node}"


def test_schema_holds_models_dataclasses_literals_and_descriptions() -> None:
    properties = book.parameters["properties"]
    assert book.description == "Book a stay.\n\nIt is not paid yet."
    assert list(properties) == ["place", "stay", "kind", "note", "budget"]
    assert book.parameters["required"] == ["place", "stay", "kind"]
    assert properties["kind"] == {
        "description": "what sort of place",
        "enum": ["room", "flat"],
        "type": "string",
    }
    assert properties["note"] == {"default": "", "description": "for the host", "type": "string"}
    assert properties["budget"]["description"] == "per night"
    assert book.parameters["$defs"]["Stay"]["required"] == ["nights"]
    assert book.is_async
    assert book.context_parameter == "context"


def test_arguments_are_converted_to_the_annotated_types() -> None:
    values = book.validate({"place": {"city": "Oslo"}, "stay": {"nights": "2"}, "kind": "flat", "budget": 10})
    assert values["place"] == Place(city="Oslo")
    assert values["stay"] == Stay(2)
    assert values["budget"] == 10.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"stay": {"nights": 1}, "kind": "flat"},
        {"place": {"city": "Oslo"}, "stay": {"nights": 1}, "kind": "tent"},
        {"place": {"city": "Oslo"}, "stay": {"nights": 1}, "kind": "flat", "context": {}},
        {"place": {"city": "Oslo"}, "stay": {"nights": 1}, "kind": "flat", "more": 1},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        book.validate(arguments)


def with_fields(
    plain: int = Field(3, description="own", ge=1),
    needed: str = Field(alias="other"),
    listed: list[int] = Field(default_factory=list),  # noqa: B008
    both: Annotated[int, Field(le=9, validation_alias="told"), "beside"] = Field(4),
    named: Annotated[int, Field(alias="another", ge=0)] = 5,
) -> None:
    """Try.

    Args:
        plain: not this text, the field's
        needed: the docstring's
    """


def test_a_field_as_default_keeps_name_description_default_and_limits() -> None:
    made = make_tool(with_fields)
    assert made.parameters["properties"] == {
        "plain": {"default": 3, "description": "own", "minimum": 1, "type": "integer"},
        "needed": {"description": "the docstring's", "type": "string"},
        "listed": {"items": {"type": "integer"}, "type": "array"},
        "both": {"default": 4, "description": "beside", "maximum": 9, "type": "integer"},
        "named": {"default": 5, "minimum": 0, "type": "integer"},
    }
    assert made.parameters["required"] == ["needed"]
    values = {"plain": 3, "needed": "n", "listed": [], "both": 4, "named": 5}
    assert made.validate({"needed": "n"}) == values
    assert made.validate({**values, "plain": 7}) == {**values, "plain": 7}
    with pytest.raises(ValidationError):
        made.validate({"needed": "n", "plain": 0})


Town = Annotated[str, Field(description="a town")]


def with_aliases(
    start: Annotated[Town, "where from"],
    end: Annotated[str, "where to", Field(description="and where to stop")],
    over: Town,
    late: Annotated[Town, "not this text"] = Field(description="where to turn"),  # noqa: B008
) -> None:
    """Go.

    Args:
        over: not this text, the alias's
    """


def test_the_last_description_of_an_annotation_is_told() -> None:
    properties = make_tool(with_aliases).parameters["properties"]
    assert {name: each["description"] for name, each in properties.items()} == {
        "start": "where from",
        "end": "and where to stop",
        "over": "a town",
        "late": "where to turn",
    }


class Fares:
    """Look up a fare."""

    def __call__(self, city: str) -> str:
        return city


class Described(Fares):
    def __call__(self, city: str) -> str:
        """Look up one fare."""
        return city


class Inherits(Described):
    def __call__(self, city: str) -> str:
        return city


def test_an_object_whose_call_has_no_docstring_is_described_by_its_class() -> None:
    told = [make_tool(each).description for each in (Fares(), Described(), Inherits())]
    assert told == ["Look up a fare.", "Look up one fare.", "Look up one fare."]


def google(city: str, days: int = 1) -> None:
    """Say it.

    Args:
        city: where,
            exactly
        days (int): how many

    Returns:
        nothing: at all
    """


def numpy(city: str, days: int = 1) -> None:
    """Say it.

    Parameters
    ----------
    city : str
        where,
        exactly
    days : int, optional
        how many

    Returns
    -------
    None
    """


def sphinx(city: str, days: int = 1) -> None:
    """Say it.

    :param city: where,
        exactly
    :param int days: how many
    :returns: nothing
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstring_styles(function: Any) -> None:
    made = make_tool(function)
    assert made.description == "Say it."
    described = {name: entry.get("description") for name, entry in made.parameters["properties"].items()}
    assert described == {"city": "where, exactly", "days": "how many"}


class Counter:
    def __init__(self) -> None:
        self.count = 0

    @tool(read_only=True)
    def add(self, amount: int) -> int:
        """Add."""
        self.count += amount
        return self.count

    def __call__(self, amount: int) -> int:
        """Take away."""
        self.count -= amount
        return self.count


def test_methods_callables_and_partials() -> None:
    counter = Counter()
    (add,) = Toolset.of_methods(counter)
    assert add.read_only
    assert list(add.parameters["properties"]) == ["amount"]
    assert add.call(**add.validate({"amount": 2})) == 2
    away = make_tool(counter, name="away")
    assert away.description == "Take away."
    assert away.call(**away.validate({"amount": 1})) == 1
    bound = make_tool(counter.__call__, name="bound")
    assert bound.call(amount=1) == 0
    partial = make_tool(functools.partial(google, days=3), name="partial")
    assert list(partial.parameters["properties"]) == ["city"]


class Desk:
    """A desk with a tool of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    @tool
    def greet(self, guest: str) -> str:
        """Greet."""
        return f"{self.name} greets {guest}"

    shared = book


def test_tool_of_an_object_is_a_method_of_it() -> None:
    one, two = Desk("one"), Desk("two")
    assert one.greet("Ada") == "one greets Ada"
    assert two.greet.call(**two.greet.validate({"guest": "Ada"})) == "two greets Ada"
    assert Toolset([one.greet]).names == ("greet",)
    assert one.shared is book  # a tool of a function stays what it is, wherever it is kept
    assert Desk.greet.is_method


@tool(name="shout", retries=1)
class Shout:
    """Objects of it can be called."""

    def __call__(self, text: str) -> str:
        """Say it louder."""
        return text.upper()


def test_class_whose_objects_can_be_called() -> None:
    assert (Shout.name, Shout.description, Shout.retries) == ("shout", "Say it louder.", 1)
    assert Shout.call(**Shout.validate({"text": "hi"})) == "HI"

    class Needy:
        def __init__(self, more: int) -> None: ...

        def __call__(self) -> None: ...

    with pytest.raises(ToolDefinitionError, match="Needy needs arguments"):
        make_tool(Needy)


def test_parameter_names_that_pydantic_keeps_for_itself() -> None:
    @tool
    def odd(_hidden: int, model_config: str, schema: str, copy: bool = False) -> str:
        return f"{_hidden}{model_config}{schema}{copy}"

    assert list(odd.parameters["properties"]) == ["_hidden", "model_config", "schema", "copy"]
    arguments = odd.validate({"_hidden": 1, "model_config": "a", "schema": "b"})
    assert odd.call(**arguments) == "1abFalse"


def test_further_arguments_by_name() -> None:
    @tool
    def open_ended(first: int, **rest: Any) -> None: ...

    assert open_ended.validate({"first": 1, "second": 2}) == {"first": 1, "second": 2}
    assert open_ended.validate({"first": 1, "rest": 2}) == {"first": 1, "rest": 2}


def test_further_arguments_are_converted_and_replace_nothing() -> None:
    def counted(secret: str, context: ToolContext, **counts: int) -> None: ...

    validate = make_tool(functools.partial(counted, secret="s"), name="counted").validate
    assert validate({"a": "2"}) == {"a": 2}
    with pytest.raises(ValidationError, match="a valid integer"):
        validate({"a": "x"})
    for taken in ("secret", "context"):
        with pytest.raises(ValueError, match=f"'counted' takes no argument '{taken}'"):
            validate({taken: 1})


def by_position(ctx: ToolContext, /, x: int) -> None: ...
def two_contexts(a: ToolContext, b: ToolContext | None = None) -> None: ...
def listed_contexts(items: list[ToolContext], x: int) -> None: ...
def one_of_two(item: ToolContext | int) -> None: ...
def all_contexts(*ctxs: ToolContext) -> None: ...
def named_contexts(x: int, **kw: ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        (by_position, "ctx"),
        (two_contexts, "b"),
        (listed_contexts, "items"),
        (one_of_two, "item"),
        (all_contexts, "ctxs"),
        (named_contexts, "kw"),
    ],
)
def test_a_context_that_cannot_be_given_is_refused(function: Any, parameter: str) -> None:
    with pytest.raises(ToolDefinitionError, match=rf"ToolContext in .*'{parameter}'.*(declare|remove)"):
        make_tool(function)


def test_a_context_may_be_optional() -> None:
    def ask(context: Annotated[ToolContext | None, "the run"] = None) -> None: ...

    assert make_tool(ask).context_parameter == "context"


class Names(TypedDict):
    a: int


def unpacked(**more: Unpack[Names]) -> None: ...
def opaque(**more: Exception) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "lambda"),
        (print, "position only"),
        (Place, "not a function"),
        (unpacked, "declare each as a parameter"),
        (opaque, "JSON cannot carry"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(function: Any, message: str) -> None:
    with pytest.raises(ToolDefinitionError, match=message):
        make_tool(function)


def test_parameter_that_json_cannot_carry_is_refused() -> None:
    class Opaque: ...

    def takes(it: Opaque) -> None: ...

    takes.__annotations__["it"] = Opaque
    with pytest.raises(ToolDefinitionError, match="takes"):
        make_tool(takes)


def test_options_of_a_tool_that_is_made_already_are_refused() -> None:
    """Passed over in silence, a tool would run without its approval."""
    made = make_tool(google)
    assert make_tool(made) is made
    assert make_tool(made, name="away").name == "away"
    for options in ({"approval": True}, {"timeout": 5.0}, {"description": "d"}, {"max_result": 10}):
        with pytest.raises(ToolDefinitionError, match="is a tool already"):
            tool(**options)(made)  # type: ignore[call-overload]


def test_toolsets_combine_filter_rename_and_prefix() -> None:
    both = Toolset([google]) + Toolset([numpy, sphinx])
    assert both.names == ("google", "numpy", "sphinx")
    assert both.only("sphinx", "google").names == ("sphinx", "google")
    assert both.filtered(lambda made: "g" in made.name).names == ("google",)
    assert both.prefixed("doc_").renamed({"doc_numpy": "np"}).names == ("doc_google", "np", "doc_sphinx")
    assert [entry["function"]["name"] for entry in both.schemas()] == list(both.names)
    assert "numpy" in both
    with pytest.raises(ToolDefinitionError, match="two tools"):
        both + Toolset([google])
    with pytest.raises(ToolDefinitionError, match="no tools"):
        both.only("pandas")


def test_name_that_no_grammar_carries_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="name"):
        make_tool(google, name="two words")


DOCSTRING_LINES = st.sampled_from(
    [
        "Args:",
        "    a: b",
        "Parameters",
        "----------",
        "a : int",
        ":param a: b",
        ":param",
        "Returns:",
        "",
        "(:)",
    ]
)


@given(st.lists(DOCSTRING_LINES | st.text(max_size=8)).map("\n".join))
def test_any_docstring_gives_a_tool(docstring: str) -> None:
    def act(a: str) -> str:
        return a

    act.__doc__ = docstring
    assert set(make_tool(act).parameters["properties"]) == {"a"}


def test_a_docstring_that_fits_no_style_is_the_description() -> None:
    def act(a: str) -> str:
        """Act.

        Args:
          no parameter here
        """
        return a

    assert make_tool(act).description == "Act.\n\nArgs:\n  no parameter here"


def test_keyword_arguments_and_descriptions_of_several_lines() -> None:
    def act(*, a: str, **more: str) -> str:
        """Act.

        Keyword Args:
            a (str): the first: one
                of two
            **more: others
        """
        return a

    made = make_tool(act)
    assert made.description == "Act."
    assert made.parameters["properties"]["a"]["description"] == "the first: one of two"


@pytest.mark.parametrize("name", ["book\n", "a b", "a/b", "n" * 65])
def test_names_that_models_cannot_write_are_refused(name: str) -> None:
    with pytest.raises(ToolDefinitionError, match="cannot be a tool's name"):
        tool(name=name)(lambda: None)


def test_a_lambda_is_a_tool_under_a_name() -> None:
    assert tool(name="double")(lambda n: 2 * n).call(2) == 4
    with pytest.raises(ToolDefinitionError, match=r"a lambda has no name; give one by `name=\.\.\.`"):
        make_tool(lambda: None)
