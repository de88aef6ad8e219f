"""Tools: Python callables that models may call.

`@tool` makes one from a function, a method or an object with `__call__`; its schema comes from the signature
and the docstring. A `Toolset` is an ordered set of tools with different names, that can be combined,
filtered, renamed and prefixed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, Self, TypeAlias, overload

from typing_extensions import ParamSpec, TypeVar  # with defaults, so that `Tool` alone is any tool

from codec_agents.exceptions import ToolDefinitionError
from codec_agents.tools.calls import Approver, ToolContext
from codec_agents.tools.schema import CallSignature

DEFAULT_RESULT_CHARACTERS = 200_000
"""About 50,000 token ids. A longer result fills most models' context, and is cut with a note."""

NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
"""The names of tools that the grammars of all model families can write."""


@dataclass(frozen=True, slots=True)
class ResultIds:
    """A result whose ids, or some of them, were made in advance.

    Fields:
        parts: ids, used as they are, and texts, encoded when the tool returns. Control ids are refused.
        map_hash: the map the ids are of; another map gets the text instead.
        text: the whole result as text, for the record and for other vocabularies.
    """

    parts: tuple[str | tuple[int, ...], ...]
    map_hash: str
    text: str


class ToolFailure(Exception):  # noqa: N818 - a tool raises it as an answer to the model
    """Raised by a tool to send the model an error text of its own."""


Approval: TypeAlias = bool | Approver
"""True asks the run's approver. A callable is asked instead; a string from it denies with this text."""


P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
_Owner = TypeVar("_Owner")
_Rest = ParamSpec("_Rest")
_Result = TypeVar("_Result")


class _Signature:
    """Lets `inspect.signature`, and editors that use it, show a tool with the signature of its function."""

    def __get__(self, made: Tool | None, kind: type) -> inspect.Signature | None:
        # With None for the class itself, `inspect` goes on as for other classes.
        return None if made is None else inspect.signature(made.call)


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R]):
    """A callable with a name, a description and a schema.

    Fields:
        name: what models call it.
        description: its description for models.
        parameters: the JSON schema of its arguments.
        call: the callable; arguments are those that `validate` returns.
        is_async: True if it is awaited, False if it runs in a worker thread.
        validate: checks and converts a call's arguments; raises `pydantic.ValidationError` or ValueError.
        context_parameter: the parameter that gets the `ToolContext`, if it has one.
        read_only: whether running it changes nothing, so that it may start early and be withdrawn.
        timeout: seconds for one attempt; None for the policy's.
        retries: how often it is retried after an exception of its own.
        concurrency: how many calls of it may run concurrently; None for no limit.
        max_result: characters after which a result is cut, with a note.
        approval: True if each call needs approval, or the callable that decides.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[P, R]
    is_async: bool
    validate: Callable[[Mapping[str, Any]], dict[str, Any]]
    context_parameter: str | None = None
    read_only: bool = False
    timeout: float | None = None
    retries: int = 0
    concurrency: int | None = None
    max_result: int = DEFAULT_RESULT_CHARACTERS
    approval: Approval = False
    is_method: bool = False
    """True for a tool made in a class, of a method that is not bound yet."""

    __signature__ = _Signature()

    @overload
    def __get__(self, owner: None, kind: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: Tool[Concatenate[_Owner, _Rest], _Result], owner: _Owner, kind: type | None = None
    ) -> Tool[_Rest, _Result]: ...
    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """Return the tool of a method for one object: `desk.book`, of a class with `@tool def book(self)`."""
        if owner is None or not self.is_method:
            return self
        return replace(self, call=self.call.__get__(owner), is_method=False)

    def renamed(self, name: str) -> Tool[P, R]:
        """Return the same tool under another name."""
        return replace(self, name=checked_name(name))

    def schema(self) -> dict[str, Any]:
        """Return the declaration in the form that most servers and providers use."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the callable that the tool was made from."""
        return self.call(*args, **kwargs)


def make_tool(
    function: Callable[P, R],
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    timeout: float | None = None,
    retries: int = 0,
    concurrency: int | None = None,
    max_result: int = DEFAULT_RESULT_CHARACTERS,
    approval: Approval = False,
) -> Tool[P, R]:
    """Return a tool made from a callable. Its signature and docstring give the fields that are left out.

    Raises:
        ToolDefinitionError: no schema can be made from the signature, the name cannot be one, or options are
            given for a tool that is made already.
    """
    if isinstance(function, Tool):
        options = (description, read_only, timeout, retries, concurrency, max_result, approval)
        if options != (None, False, None, 0, None, DEFAULT_RESULT_CHARACTERS, False):
            # Not passed over: a tool would run without the approval that was asked for.
            raise ToolDefinitionError(
                f"{function.name!r} is a tool already; give its options where it is made, or use "
                "`dataclasses.replace(tool, ...)`"
            )
        return function if name is None else function.renamed(name)
    function = _callable(function)
    signature = CallSignature(function, context_type=ToolContext, name=name)
    _check_timeout(signature.name, timeout)
    return Tool(
        name=checked_name(signature.name),
        description=signature.description if description is None else inspect.cleandoc(description),
        parameters=signature.parameters,
        call=function,
        is_async=signature.is_async,
        validate=signature.validate,
        context_parameter=signature.context_parameter,
        read_only=read_only,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        max_result=max_result,
        approval=approval,
        is_method=signature.is_method,
    )


def _check_timeout(name: str, timeout: object) -> None:
    """Refuse a time of which nothing is left before a call begins, and what is no time."""
    if timeout is None or (isinstance(timeout, int | float) and timeout > 0):
        return
    raise ToolDefinitionError(f"the tool {name!r} has a timeout of {timeout!r}; it must be a positive number")


def _callable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function to call; for a class whose objects are callable, an object of it."""
    if not isinstance(function, type) or "__call__" not in vars(function):
        return function
    try:
        made: Callable[..., Any] = function()
    except TypeError as error:
        raise ToolDefinitionError(
            f"the class {function.__name__} needs arguments ({error}); give an object of it"
        ) from error
    return made


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    timeout: float | None = None,
    retries: int = 0,
    concurrency: int | None = None,
    max_result: int = DEFAULT_RESULT_CHARACTERS,
    approval: Approval = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a tool of a function: `@tool`, or `@tool(read_only=True, timeout=5)`.

    On a method, the class keeps the tool, and each object has its own: `desk.book`. On a class whose objects
    can be called, the tool is an object made without arguments. The tool can still be called like the
    function. Parameters are described by `Annotated[..., "text"]`, pydantic's `Field`, or the docstring in
    Google, NumPy or Sphinx style.

    Raises:
        ToolDefinitionError: no schema can be made from the signature, or the name cannot be one.
    """
    if function is not None:
        return make_tool(function)
    return lambda decorated: make_tool(decorated, **options)


def checked_name(name: str) -> str:
    """Return a name that models can write.

    Raises:
        ToolDefinitionError: it is none.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ToolDefinitionError(
            f"{name!r} cannot be a tool's name; use up to 64 letters, digits, `_`, `-` and `.`, by `name=...`"
        )
    return name


class Toolset(Sequence[Tool]):
    """Tools with different names, in order. Immutable."""

    __slots__ = ("_tools",)

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for given in tools:
            made = make_tool(given)
            if made.name in self._tools:
                raise ToolDefinitionError(
                    f"two tools are named {made.name!r}; rename one, or prefix the names of one toolset"
                )
            self._tools[made.name] = made

    @classmethod
    def of_methods(cls, owner: object) -> Toolset:
        """Return the tools of an object: its public methods that are marked by `@tool`."""
        names = [name for name in dir(type(owner)) if isinstance(getattr(type(owner), name), Tool)]
        return cls(getattr(type(owner), name).__get__(owner) for name in names)

    @overload
    def __getitem__(self, key: int) -> Tool: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Tool]: ...
    def __getitem__(self, key: int | slice) -> Tool | Sequence[Tool]:
        """Return a tool by its position."""
        return list(self._tools.values())[key]

    def __len__(self) -> int:
        """Return the number of tools."""
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        """Yield the tools in order."""
        return iter(self._tools.values())

    def __contains__(self, name: object) -> bool:
        """Return whether the set has this tool, or one of this name."""
        return name in self._tools or name in self._tools.values()

    def __add__(self, other: Iterable[Tool]) -> Toolset:
        """Return both sets as one."""
        return Toolset([*self, *other])

    def get(self, name: str) -> Tool | None:
        """Return a tool by its name."""
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
        return tuple(self._tools)

    def only(self, *names: str) -> Toolset:
        """Return these tools and no others.

        Raises:
            ToolDefinitionError: there is no tool of a name.
        """
        if unknown := [name for name in names if name not in self._tools]:
            raise ToolDefinitionError(f"there are no tools {unknown}; there are {list(self._tools)}")
        return Toolset(self._tools[name] for name in names)

    def filtered(self, keep: Callable[[Tool], bool]) -> Toolset:
        """Return the tools for which `keep` is true."""
        return Toolset(tool for tool in self if keep(tool))

    def prefixed(self, prefix: str) -> Toolset:
        """Return the tools with a prefix before each name."""
        return Toolset(tool.renamed(prefix + tool.name) for tool in self)

    def renamed(self, names: Mapping[str, str]) -> Toolset:
        """Return the tools with some of them under other names."""
        self.only(*names)
        return Toolset(tool.renamed(names.get(tool.name, tool.name)) for tool in self)

    def schemas(self) -> list[dict[str, Any]]:
        """Return the declarations of all tools."""
        return [tool.schema() for tool in self]


ToolResult: TypeAlias = Any
"""The result of a tool: a text, a JSON value, a pydantic model, a dataclass, or `ResultIds`."""

__all__ = [
    "DEFAULT_RESULT_CHARACTERS",
    "Approval",
    "ResultIds",
    "Tool",
    "ToolFailure",
    "ToolResult",
    "Toolset",
    "make_tool",
    "tool",
]
