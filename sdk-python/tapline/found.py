"""Which class of the author's file is the module, and whether it is complete."""

import re

from . import shape
from .roles import Detector, Module, Parser, Validator
from .sink import Sink

ROLES = {"validator": Validator, "parser": Parser, "detector": Detector, "sink": Sink}
_NEEDED = {
    "validator": ["validate"], "parser": ["parse"], "detector": ["step"],
    "sink": ["encode", "conclude"],
}


class Incomplete(Exception):
    """What the author has to add or change."""


def module_class(file, role: str) -> type[Module]:
    """The one class in `file` that is of `role`."""
    base = ROLES[role]
    classes = [
        value
        for value in vars(file).values()
        if isinstance(value, type) and issubclass(value, Module) and value.__module__ == file.__name__
    ]
    if len(classes) != 1:
        names = ", ".join(f"`{each.__name__}`" for each in classes) or "none"
        raise Incomplete(
            f"src/module.py must have one class that is a {base.__name__}, "
            f"`class MyModule({base.__name__}):`; there is {names}"
        )
    found = classes[0]
    if not issubclass(found, base):
        raise Incomplete(f"`{found.__name__}` is no {base.__name__}, and module.toml says {role}")
    for text in ("name", "version", "summary"):
        if not isinstance(getattr(found, text, None), str):
            raise Incomplete(f"`{found.__name__}` needs `{text} = \"…\"`")
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", found.name):
        raise Incomplete(
            f"`{found.__name__}.name` is `{found.name}`, and a name is made of small letters, "
            "digits, `-` and `_`"
        )
    for function in _NEEDED[role]:
        if getattr(found, function) is getattr(base, function):
            raise Incomplete(f"`{found.__name__}` needs `def {function}(self, …)`")
    return found


class _NoSettings(shape.Settings):
    pass


def settings_shape(found: type[Module]) -> shape.Fields:
    """The shape of its settings; every field must have a default."""
    annotation = _annotation(found, "settings") or _NoSettings
    if not (isinstance(annotation, type) and issubclass(annotation, shape.Settings)):
        raise Incomplete(f"`{found.__name__}.settings` must be a class that is a Settings")
    fields = shape.of(annotation)
    for _, name, _, default in fields.fields:
        if default is shape.MISSING:
            raise Incomplete(f"`{annotation.__name__}.{name}` needs a default: `field(1.0, \"…\")`")
    return fields


def state_shape(found: type[Module]) -> shape.Shape:
    """The shape of a detector's state."""
    return shape.of(_annotation(found, "state"), f"{found.__name__}.state")


def _annotation(found, name):
    import typing

    hints = typing.get_type_hints(found)
    given = hints.get(name)
    return None if given in (object, shape.Settings) else given
