"""The JSON schema of a callable's arguments, and the check of a call against it."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo
from typing_extensions import Unpack

from codec_agents.exceptions import ToolDefinitionError

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
"""Parameters that a call can give by name."""


class CallSignature:
    """The arguments of a callable, from its signature, its annotations and its docstring.

    Attributes:
        name: the callable's name.
        description: its docstring without the parameters.
        parameters: the JSON schema of its arguments.
        is_async: whether calling it gives an awaitable.
        context_parameter: the parameter annotated with the context type.
        is_method: whether it is a method that was not taken from an object.
    """

    def __init__(self, function: Callable[..., Any], *, context_type: type, name: str | None = None) -> None:
        self._function = function
        target = _target(function)
        self.name = name or _name(function)
        self.is_method = False
        # The object itself may be marked as one (`inspect.markcoroutinefunction`), or its `__call__` be one.
        self.is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(function)
        docstring = _docstring(target) or inspect.getdoc(_unwrapped(function)) or ""
        # The library is imported with the first tool: a pipeline without tools never needs it.
        from codec_agents.tools.docstrings import documented

        self.description, described = documented(docstring)
        self._context_type = context_type
        self.context_parameter: str | None = None
        self._keys: dict[str, str] = {}
        self._extra: TypeAdapter[dict[str, Any]] | None = None
        self._taken: set[str] = set()
        self._model = self._make_model(target, described)
        self.parameters = self._schema()

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the callable takes them, converted to the annotated types.

        Raises:
            pydantic.ValidationError: they do not hold to the schema.
            ValueError: a further argument has the name of a parameter that is not the caller's.
        """
        checked = self._model.model_validate(dict(arguments))
        values = {name: getattr(checked, key) for key, name in self._keys.items()}
        if self._extra is not None:
            further = self._extra.validate_python(checked.model_extra or {})
            # One that is bound, or the context: by this name the caller would replace it.
            if taken := sorted(self._taken & further.keys()):
                raise ValueError(f"{self.name!r} takes no argument {', '.join(map(repr, taken))}")
            values |= further
        return values

    def _make_model(self, target: Callable[..., Any], described: Mapping[str, str]) -> type[BaseModel]:
        try:
            hints = typing.get_type_hints(target, include_extras=True)
            signature = inspect.signature(target)
        except (NameError, TypeError, ValueError) as error:
            raise ToolDefinitionError(
                f"the tool {self.name!r} has a signature that cannot be read: {error}"
            ) from error
        fields: dict[str, Any] = {}
        # A decorator inside a class body gets a plain function: only the name of its first parameter tells.
        self.is_method = inspect.isfunction(self._function) and "self" in list(signature.parameters)[:1]
        for position, parameter in enumerate(_own_parameters(self._function, signature)):
            annotation = hints.get(parameter.name, parameter.annotation)
            if _mentions(annotation, self._context_type):
                self._take_context(parameter, annotation)
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self._extra = self._further(parameter, annotation)
            else:
                self._add(fields, position, parameter, annotation, described.get(parameter.name))
        named = {name for name, parameter in signature.parameters.items() if parameter.kind in NAMED}
        self._taken = named - set(self._keys.values())
        config = ConfigDict(
            extra="allow" if self._extra is not None else "forbid",
            arbitrary_types_allowed=False,  # JSON has no form of them: the error below
        )
        try:
            return create_model(self.name, __config__=config, **fields)
        except PydanticUserError as error:
            raise self._uncarried(error) from error

    def _take_context(self, parameter: inspect.Parameter, annotation: Any) -> None:
        kind, name = self._context_type.__name__, parameter.name
        if parameter.kind not in NAMED or not _is_context(annotation, self._context_type):
            raise ToolDefinitionError(
                f"the tool {self.name!r} cannot be given a {kind} in {name!r}; declare it as an ordinary "
                f"parameter, `context: {kind}`"
            )
        if self.context_parameter is not None:
            raise ToolDefinitionError(
                f"the tool {self.name!r} takes a {kind} in {self.context_parameter!r} and in {name!r}; it "
                "gets one: remove the other parameter"
            )
        self.context_parameter = name

    def _further(self, parameter: inspect.Parameter, annotation: Any) -> TypeAdapter[dict[str, Any]]:
        """Return the check of the arguments that no parameter names."""
        if get_origin(annotation) is Unpack:
            raise ToolDefinitionError(
                f"the tool {self.name!r} names its arguments in the type of {parameter.name!r}, which models "
                "are not told; declare each as a parameter"
            )
        plain = Any if annotation is inspect.Parameter.empty else annotation
        try:
            return TypeAdapter(dict[str, plain])  # type: ignore[valid-type]
        except PydanticUserError as error:
            raise self._uncarried(error) from error

    def _uncarried(self, error: PydanticUserError) -> ToolDefinitionError:
        said = str(error.message).partition("\n")[0]
        return ToolDefinitionError(f"the tool {self.name!r} has a parameter that JSON cannot carry: {said}")

    def _add(
        self,
        fields: dict[str, Any],
        position: int,
        parameter: inspect.Parameter,
        annotation: Any,
        description: str | None,
    ) -> None:
        if parameter.kind not in NAMED:
            raise ToolDefinitionError(
                f"the tool {self.name!r} takes {parameter.name!r} by position only; models give names"
            )
        # Not the parameter's name: pydantic refuses some (`_x`), and others (`json`) hide methods of models.
        key = f"field_{position}"
        self._keys[key] = parameter.name
        annotation = _annotation(parameter, annotation)
        fields[key] = (annotation, _field(parameter, annotation, description))

    def _schema(self) -> dict[str, Any]:
        try:
            schema = self._model.model_json_schema()
        except PydanticInvalidForJsonSchema as error:
            raise self._uncarried(error) from error
        untitled = _without_titles(schema)
        assert isinstance(untitled, dict)
        untitled.setdefault("properties", {})  # which templates of models read without asking
        # The check refuses further arguments, and the tool has its own description: here both only cost ids.
        untitled.pop("additionalProperties", None)
        untitled.pop("description", None)
        return {"type": "object", **{key: value for key, value in untitled.items() if key != "type"}}


def _unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _target(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the signature: the function itself, or the `__call__` of an object."""
    function = _unwrapped(function)
    if inspect.isroutine(function):
        return function
    if isinstance(function, type) or not callable(function):
        raise ToolDefinitionError(f"{function!r} is not a function, a method or an object with `__call__`")
    call: Callable[..., Any] = type(function).__call__
    return call


def _docstring(target: Callable[..., Any]) -> str | None:
    """Return the docstring of a function, or the one that a method inherits."""
    found = inspect.getdoc(target)
    # A `__call__` without one inherits Python's own, of `object`; the class tells what its objects do.
    return None if found == inspect.getdoc(object.__call__) else found


def _name(function: Callable[..., Any]) -> str:
    function = _unwrapped(function)
    name = getattr(function, "__name__", None) or type(function).__name__
    if name == "<lambda>":
        raise ToolDefinitionError("a lambda has no name; give one by `name=...`")
    return str(name)


def _own_parameters(function: Callable[..., Any], signature: inspect.Signature) -> list[inspect.Parameter]:
    """Return the parameters that a caller gives: without `self`, and without those bound by a partial."""
    parameters = list(signature.parameters.values())
    plain = _unwrapped(function)
    if parameters and parameters[0].name in ("self", "cls") and not inspect.ismethod(plain):
        parameters = parameters[1:]
    if isinstance(function, functools.partial):
        # The signature of a partial lacks what is bound by position, and keeps what is bound by name.
        bound = set(inspect.signature(function).parameters)
        given = set(function.keywords)
        parameters = [parameter for parameter in parameters if parameter.name in bound - given]
    return parameters


def _mentions(annotation: Any, context_type: type) -> bool:
    """Return whether an annotation is the context's type, or has it anywhere in it."""
    return annotation is context_type or any(_mentions(part, context_type) for part in get_args(annotation))


def _is_context(annotation: Any, context_type: type) -> bool:
    """Return whether a value of the context's type is all that an annotation has, or that or None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return set(parts) <= {context_type, type(None)}


def _annotation(parameter: inspect.Parameter, annotation: Any) -> Any:
    """Return the annotation, with a default that is pydantic's `Field(...)` as its last part."""
    plain = Any if annotation is inspect.Parameter.empty else annotation
    # As a part, pydantic merges it before the name: `merge_field_infos` keeps no alias that it is given.
    return Annotated[plain, parameter.default] if isinstance(parameter.default, FieldInfo) else plain


def _field(parameter: inspect.Parameter, annotation: Any, documented: str | None) -> FieldInfo:
    """Return the name, description and plain default of an argument; they win over the annotation's.

    The description is the last one in the annotation, a text or a `Field`, or else the docstring's.
    """
    # The last is nearest to the parameter: an alias of `Annotated` has its parts before those around it, and
    # `_annotation` puts a `Field` that is the default behind all of them.
    told = [text for extra in getattr(annotation, "__metadata__", ()) if (text := _description(extra))]
    # All three: an alias of the parameter's own `Field` would be the name that the model is offered.
    options: dict[str, Any] = dict.fromkeys(
        ("alias", "validation_alias", "serialization_alias"), parameter.name
    )
    description = told[-1] if told else documented  # beside the type it is of this parameter for certain
    if description is not None:
        options["description"] = description
    if parameter.default is not inspect.Parameter.empty and not isinstance(parameter.default, FieldInfo):
        options["default"] = parameter.default
    field: FieldInfo = Field(**options)
    return field


def _description(extra: Any) -> str | None:
    """Return the description that a part of an annotation gives."""
    if isinstance(extra, FieldInfo):
        return extra.description
    return extra if isinstance(extra, str) else None


def _without_titles(schema: Any) -> Any:
    """Return a schema without the titles that pydantic derives from names: they only cost ids."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        # Keys in these are names, and a parameter may be named `title`.
        if key in ("properties", "$defs") and isinstance(value, dict):
            cleaned[key] = {name: _without_titles(entry) for name, entry in value.items()}
        else:
            cleaned[key] = _without_titles(value)
    return cleaned
