"""What is configured by options and says what it is: detectors, and what else is built as they are."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from memdet.detectors.plugins import remake
from memdet.errors import UserError
from memdet.io_utils import printable
from memdet.torch_state import kept_generators, own_state
from memdet.user_code import files_of, note_source

_computing: ContextVar[tuple[Any, ...]] = ContextVar("_computing", default=())


class Configured:
    """Has options, which are annotated class attributes with their defaults, and a label that tells variants apart.

    Options come as keywords, or as text from the command line (``name@steps=50``).

    Attributes:
        kind: What messages call it: ``detector``.
        public: Name of the class that plugins subclass.
        info: What a table says of it, of the class ``info_type``.
        computes: Names of the methods that compute: they run under memdet's own settings of torch.

    Raises:
        UserError: Unknown option, a value that does not fit its annotation, or options of a class without ``info``.
    """

    kind: ClassVar[str]
    public: ClassVar[str]
    info: ClassVar[Any]
    info_type: ClassVar[type]
    computes: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if Configured in cls.__bases__:  # a kind of its own, which computes nothing
            return
        note_source(cls)
        for name in cls.computes:
            if name in vars(cls):
                setattr(cls, name, _in_own_state(vars(cls)[name]))

    def __init__(self, **options: Any) -> None:
        from pydantic import ConfigDict, TypeAdapter, ValidationError

        if options:
            check_info(type(self))
        hints = self.option_types()
        for key, value in options.items():
            if key not in hints:
                known = ", ".join(hints) or "none"
                raise UserError(f"{self.kind} {self.info.name} has no option {key!r}; its options: {known}")
            adapter = TypeAdapter(hints[key], config=ConfigDict(strict=False))
            if isinstance(value, str) and get_origin(hints[key]) is Literal:
                # pydantic reads no number from text where the choices are numbers
                value = {str(choice): choice for choice in get_args(hints[key])}.get(value, value)
            try:
                parsed = adapter.validate_strings(value) if isinstance(value, str) else adapter.validate_python(value)
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise UserError(f"{self.kind} {self.info.name}: {key}={value!r}: {reason}") from None
            setattr(self, key, parsed)

    def __repr__(self) -> str:
        title = getattr(getattr(type(self), "info", None), "title", None)
        return f"{type(self).__name__}({self.label!r}: {title})" if isinstance(title, str) else super().__repr__()

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Annotation of each option, in the order of declaration."""
        hints = get_type_hints(cls, include_extras=True)
        return {key: hint for key, hint in hints.items() if get_origin(hint) is not ClassVar and key != "info"}

    @property
    def label(self) -> str:
        """Name, and the options that differ from their defaults: ``wen2024@steps=50``.

        Raises:
            UserError: The class has no ``info``.
        """
        check_info(type(self))
        changed = [
            f"{key}={getattr(self, key)}"
            for key in self.option_types()
            if getattr(self, key) != getattr(type(self), key)
        ]
        name: str = self.info.name
        return name + ("@" + ",".join(changed) if changed else "")

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes it again, from its plugin file if it came from one."""
        cls = type(self)
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        state = {key: getattr(self, key) for key in self.option_types()} | vars(self)
        return remake, (cls.__module__, file, cls.__qualname__, state, files_of(cls))


def _in_own_state(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A method under memdet's own settings of torch, whoever calls it; generators are left as they were."""

    @functools.wraps(compute)
    def run(self: Configured, asked: Any) -> Any:
        if any(active is self for active in _computing.get()):  # by way of super(), or of its own map
            return compute(self, asked)
        token = _computing.set((*_computing.get(), self))
        try:
            with own_state(grad=True), kept_generators():
                return compute(self, asked)
        finally:
            _computing.reset(token)

    return run


def check_info(cls: type[Configured]) -> None:
    """Refuse a class of which nothing is said.

    Raises:
        UserError: It has no ``info``.
    """
    if not isinstance(getattr(cls, "info", None), cls.info_type):
        how = f'write info = {cls.info_type.__name__}(name="...", title="...", access="...", cost="...") in the class'
        raise UserError(f"{cls.kind} {cls.__qualname__} in {cls.__module__} has no info; {how}")


def check_said(kind: str, info: Any) -> None:
    """Refuse what no table or command line can show: a name of other signs, text that is none, numbers that are none.

    Args:
        kind: Of what is described.
        info: What is said of it.

    Raises:
        UserError: Names the field.
    """
    for name in (info.name, *(info.aliases if isinstance(info.aliases, tuple) else [info.aliases])):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{kind} {told(name)} has a name that cannot stand on a command line: write letters, "
                "digits, '-', '_' and '.', 80 at most, the first a letter or digit"
            )
    if hasattr(info, "aliases") and not isinstance(info.aliases, tuple):
        raise UserError(f"{kind} {info.name!r}: aliases is {told(info.aliases)}, not a tuple of names")
    check_fields(f"{kind} {info.name!r}", info)


def check_fields(where: str, said: Any) -> None:
    """Refuse a dataclass that has text, numbers or truth values of another kind than its fields say.

    Args:
        where: What is described, for errors.
        said: The dataclass.

    Raises:
        UserError: Names the field.
    """
    for field in fields(said):
        value, kind = getattr(said, field.name), str(field.type).removesuffix(" | None")
        if kind not in _SAID or (value is None and kind != field.type):
            continue
        if not _IS[kind](value):
            raise UserError(f"{where}: {field.name} is {told(value)}, not {_SAID[kind]}")


def told(value: object) -> str:
    r"""A value of somebody's code as messages show it, cut to 80 signs.

    Example:
        >>> told("a\x1b"), told(16**5000)
        ("'a\\x1b'", 'of class int and cannot be shown')
    """
    try:
        return printable(repr(value))[:80]
    except Exception:  # a whole number of many digits, or what its class makes of it
        return f"of class {type(value).__name__} and cannot be shown"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SAID = {"str": "a text of one line", "int": "a whole number", "bool": "True or False", "float": "a number from 0"}
_IS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str) and printable(value) == value,
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf,
}
"""By the annotation of a field."""
