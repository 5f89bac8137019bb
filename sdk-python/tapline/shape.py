"""What a JSON value must look like, said in annotations.

`of(annotation)` gives a shape. A shape takes what `json` read and makes the author's types of
it, writes itself as JSON Schema, and names what it expects in the words of the Rust SDK, so
that a rejection reads the same whatever language a module is written in.
"""

import dataclasses
import types
import typing

MISSING = dataclasses.MISSING


class Mismatch(Exception):
    """The value has another shape; the reader says where."""


class Shape:
    expected = "any value"

    def take(self, value):
        """Makes the author's type of a value that was read from JSON."""
        return value

    def schema(self) -> dict:
        return {}

    def plain(self, value):
        """What `take` made, as it is written to JSON."""
        return value


class _Boolean(Shape):
    expected = "a boolean"

    def take(self, value):
        if value is True or value is False:
            return value
        raise Mismatch

    def schema(self):
        return {"type": "boolean"}


class _Integer(Shape):
    expected = "i64"

    def take(self, value):
        if type(value) is int and -(1 << 63) <= value < 1 << 63:
            return value
        raise Mismatch

    def schema(self):
        return {"type": "integer"}


class _Number(Shape):
    expected = "f64"

    def take(self, value):
        if type(value) is float and value - value == 0.0:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise Mismatch from None
        raise Mismatch

    def schema(self):
        return {"type": "number"}


class _Text(Shape):
    expected = "a string"

    def take(self, value):
        if type(value) is str:
            return value
        raise Mismatch

    def schema(self):
        return {"type": "string"}


class _Choice(Shape):
    def __init__(self, choices):
        self.choices = choices
        self.expected = " or ".join(f"`{choice}`" for choice in choices)

    def take(self, value):
        if type(value) is str and value in self.choices:
            return value
        raise Mismatch

    def schema(self):
        return {"type": "string", "enum": list(self.choices)}


class Maybe(Shape):
    def __init__(self, inner):
        self.inner = inner
        self.expected = inner.expected

    def take(self, value):
        return None if value is None else self.inner.take(value)

    def schema(self):
        inner = self.inner.schema()
        if isinstance(inner.get("type"), str) and "enum" not in inner:
            return {**inner, "type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]}

    def plain(self, value):
        return None if value is None else self.inner.plain(value)


class Sequence(Shape):
    expected = "a sequence"

    def __init__(self, inner):
        self.inner = inner

    def take(self, value):
        if type(value) is not list:
            raise Mismatch
        return [self.inner.take(each) for each in value]

    def schema(self):
        return {"type": "array", "items": self.inner.schema()}

    def plain(self, value):
        return [self.inner.plain(each) for each in value]


class Mapping(Shape):
    expected = "a map"

    def __init__(self, inner):
        self.inner = inner

    def take(self, value):
        if type(value) is not dict:
            raise Mismatch
        return {key: self.inner.take(each) for key, each in value.items()}

    def schema(self):
        return {"type": "object", "additionalProperties": self.inner.schema()}

    def plain(self, value):
        return {key: self.inner.plain(each) for key, each in value.items()}


class Fields(Shape):
    """An object with named fields: a `Record`."""

    def __init__(self, record):
        self.record = record
        self.expected = f"struct {record.__name__}"
        hints = typing.get_type_hints(record)
        # Key in JSON, name in Python, shape, default.
        self.fields = []
        for given in dataclasses.fields(record):
            name, place = given.name, f"{record.__name__}.{given.name}"
            shape = of(hints[name], place)
            default = given.default
            if given.default_factory is not MISSING:
                default = given.default_factory()
            elif default is MISSING and isinstance(shape, Maybe):
                default = None
            self.fields.append((given.metadata.get("key") or name, name, shape, default))
        self.by_key = {key: index for index, (key, *_) in enumerate(self.fields)}

    def take(self, value):
        if type(value) is not dict:
            raise Mismatch
        made = object.__new__(self.record)
        into = made.__dict__
        for key, name, shape, default in self.fields:
            given = value.get(key, MISSING)
            if given is not MISSING:
                into[name] = shape.take(given)
            elif default is MISSING:
                raise Mismatch
            else:
                into[name] = _own(default)
        return made

    def put(self, values):
        """The record of values that are already taken, by key."""
        made = object.__new__(self.record)
        for key, name, _, default in self.fields:
            made.__dict__[name] = values[key] if key in values else _own(default)
        return made

    def schema(self):
        properties, required = {}, []
        metadata = {given.name: given.metadata for given in dataclasses.fields(self.record)}
        for key, name, shape, default in self.fields:
            schema = dict(shape.schema())
            if metadata[name].get("text"):
                schema["description"] = metadata[name]["text"]
            if default is MISSING:
                required.append(key)
            else:
                schema["default"] = shape.plain(default)
            schema.update(metadata[name].get("schema") or {})
            properties[key] = schema
        schema = {"title": self.record.__name__, "type": "object", "properties": properties}
        text = (self.record.__doc__ or "").strip()
        if text and not text.startswith(f"{self.record.__name__}("):
            schema["description"] = text
        if required:
            schema["required"] = required
        if self.record._closed:
            schema["additionalProperties"] = False
        return schema

    def plain(self, value):
        return {key: shape.plain(getattr(value, name)) for key, name, shape, _ in self.fields}


def _own(default):
    return default.copy() if isinstance(default, (list, dict)) else default


ANYTHING = Shape()
_SIMPLE = {bool: _Boolean(), int: _Integer(), float: _Number(), str: _Text()}
_SIMPLE |= {None: ANYTHING, typing.Any: ANYTHING, object: ANYTHING}
_SIMPLE |= {list: Sequence(ANYTHING), dict: Mapping(ANYTHING)}
_KNOWN = {}


def of(annotation, place="the shape") -> Shape:
    """The shape that an annotation says."""
    try:
        known = _SIMPLE.get(annotation) or _KNOWN.get(annotation)
    except TypeError:
        known = None
    if known is None:
        known = _made(annotation, place)
        _KNOWN[annotation] = known
    return known


def _made(annotation, place) -> Shape:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return Fields(annotation)
    if origin is list and len(arguments) == 1:
        return Sequence(of(arguments[0], place))
    if origin is dict and len(arguments) == 2 and arguments[0] is str:
        return Mapping(of(arguments[1], place))
    if origin is typing.Literal and all(isinstance(each, str) for each in arguments):
        return _Choice(arguments)
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        others = [each for each in arguments if each is not type(None)]
        if len(others) == 1:
            return Maybe(of(others[0], place))
    raise TypeError(
        f"{place}: `{annotation}` cannot be read from JSON; take bool, int, float, str, "
        "list[…], dict[str, …], Literal of texts, `… | None`, Any, or a class that is a Record"
    )


def field(default=MISSING, text="", *, key=None, **schema) -> typing.Any:
    """A field of a `Record` or of settings: its default and one sentence on what it is.

    `key` is its name in JSON where that is no Python name (`key="switch:0"`). What follows goes
    into the JSON Schema as it is: `minimum=0`, `maximum=100`, `pattern="^a"`.
    """
    about = {"text": text, "key": key, "schema": schema}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata=about)
    return dataclasses.field(default=default, metadata=about)


@typing.dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class Record:
    """A JSON object whose fields are the annotations of the class.

    A field that may be `None` may be missing; keys that no field names are passed over.
    """

    _closed = False

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        dataclasses.dataclass(kw_only=True)(cls)


class Settings(Record):
    """What a pipeline may set. Each field has a default; other keys are refused.

    The host checks settings by the JSON Schema before the module sees them; what no schema can
    say is checked in `__init__` of the module: raise `ValueError`.
    """

    _closed = True
