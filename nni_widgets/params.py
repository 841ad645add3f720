"""One declaration per parameter.

A hyperparameter is declared once, as a dataclass field made by :func:`param`. Its validation, its
line in the docstring, its control in a widget, its cases in the tests, its part of a cache key and
its place in copied code are all derived from that declaration.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, TypeGuard, dataclass_transform

from nni_widgets.errors import invalid

Kind = Literal["bool", "int", "float", "choice", "part", "value"]


@dataclasses.dataclass(frozen=True)
class Param:
    """What a declaration says: legal range (``low``, ``high``), usual range (``slider``), words.

    A ``part`` is a value that has parameters of its own; ``options()`` are the classes to choose
    from.
    """

    name: str
    default: Any
    doc: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    slider: tuple[float, float] | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    options: Callable[[], tuple[type, ...]] | None = None
    per_channel: bool = False
    array: bool = False

    def check(self, owner: str, value: Any) -> Any:
        """Return the value in its declared type; raise ``ValueError`` when it is not legal."""
        if self.kind in {"value", "part"}:
            return value
        if self.kind == "choice":
            if value not in self.choices:
                raise self._error(owner, value)
            return value
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise self._error(owner, value)
            return value
        if self.array and _is_array(value):
            return value
        if self.per_channel and isinstance(value, (tuple, list)):
            return tuple(self._check_number(owner, item) for item in value)
        return self._check_number(owner, value)

    def _check_number(self, owner: str, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise self._error(owner, value)
        number = int(value) if isinstance(value, Integral) else float(value)
        if self.kind == "int" and number != int(number if math.isfinite(number) else 0):
            raise self._error(owner, value)
        below = self.low is not None and number < self.low
        above = self.high is not None and number > self.high
        if below or above or not math.isfinite(number):
            raise self._error(owner, value)
        return int(number) if self.kind == "int" else float(number)

    @property
    def legal(self) -> str:
        """The legal values in words, for docstrings, tooltips and errors."""
        if self.kind == "bool":
            return "True or False"
        if self.kind == "choice":
            return "one of " + ", ".join(map(repr, self.choices))
        if self.kind in {"value", "part"}:
            return ""
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.low is not None and self.high is not None:
            return f"{noun} from {_written(self.low)} to {_written(self.high)}"
        if self.low is not None:
            return f"{noun} of at least {self.low:g}"
        if self.high is not None:
            return f"{noun} of at most {self.high:g}"
        return noun

    def _error(self, owner: str, value: Any) -> ValueError:
        return invalid(owner, self.name, self.legal, repr(value), f"Try {self.default!r}")


def _written(end: float) -> str:
    return f"{end:,}" if isinstance(end, int) else f"{end:g}"


def param(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    slider: tuple[float, float] | None = None,
    log: bool = False,
    choices: Sequence[Any] = (),
    options: Callable[[], tuple[type, ...]] | None = None,
    per_channel: bool = False,
    array: bool = False,
) -> Any:
    """Declare a parameter of a :class:`Declared` class.

    The kind follows from ``choices``, ``options`` and the default's type: bool, int, float, a
    choice, a part, or (any other type) a value without a control. ``slider`` is the usual range,
    inside the legal one; ``log`` asks for a logarithmic slider; ``per_channel`` also allows a
    tuple, one number per channel, ``array`` a tensor.
    """
    metadata = {
        "doc": doc,
        "low": low,
        "high": high,
        "slider": slider,
        "log": log,
        "choices": tuple(choices),
        "options": options,
        "per_channel": per_channel,
        "array": array,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _kind(default: Any, choices: tuple[Any, ...], options: object) -> Kind:
    if options is not None:
        return "part"
    if choices:
        return "choice"
    for kind, type_ in (("bool", bool), ("int", int), ("float", float)):
        if isinstance(default, type_):
            return kind  # type: ignore[return-value]
    return "value"


@dataclass_transform(frozen_default=True)
class Declared:
    """Base of every value made of declared parameters: frozen, compared by content, validated.

    A subclass is turned into a frozen dataclass, and its docstring gets a parameter section.
    ``says_parameters``: in its code, what has no code of its own is called as its parameter is.
    """

    says_parameters: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)
        cls.__doc__ = _with_parameters(cls)

    def __post_init__(self) -> None:
        for declaration in params(type(self)):
            value = declaration.check(type(self).__name__, getattr(self, declaration.name))
            object.__setattr__(self, declaration.name, value)
        self.validate()

    def validate(self) -> None:
        """Check what one declaration alone cannot say; the default accepts everything."""

    def replace(self, **changes: Any) -> Any:
        """A copy with some parameters changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(map(_same, _values(self), _values(other)))

    def __hash__(self) -> int:
        return hash((type(self), *_values(self)))

    def __repr__(self) -> str:
        return self.code(prefix="")

    def code(self, prefix: str) -> str:
        """The Python expression that makes this value; parameters at their default are left out.

        ``prefix`` stands before the package's own names only.
        """
        given = (
            f"{declaration.name}={as_code(value, prefix, self._called(declaration.name))}"
            for declaration in params(self)
            if not _same(value := getattr(self, declaration.name), declaration.default)
        )
        is_ours = type(self).__module__.partition(".")[0] == __package__
        return f"{prefix if is_ours else ''}{type(self).__name__}({', '.join(given)})"

    def _called(self, parameter: str) -> str:
        return parameter if self.says_parameters else ""


def params(of: type | object) -> tuple[Param, ...]:
    """The declarations of a class (or of an object's class), in their order."""
    if not dataclasses.is_dataclass(of):
        return ()
    return tuple(
        Param(
            name=field.name,
            default=field.default,
            kind=_kind(field.default, field.metadata["choices"], field.metadata["options"]),
            **field.metadata,
        )
        for field in dataclasses.fields(of)
        if "doc" in field.metadata
    )


def as_code(value: Any, prefix: str = "nni.", name: str = "") -> str:
    """The Python expression that makes ``value`` again, the package's names behind ``prefix``.

    An array is called ``baseline``, and a function without a name ``method``, or both ``name``:
    see `nameless`.
    """
    value = _unwrapped(value)
    if isinstance(value, Declared):
        return value.code(prefix)
    if isinstance(value, Mapping):
        pairs = (f"{as_code(k, prefix)}: {as_code(v, prefix)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, tuple):
        items = [as_code(item, prefix) for item in value]
        return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(as_code(item, prefix) for item in value) + "]"
    if _is_array(value):
        return name or "baseline"
    return name_of(value, name or "method") if callable(value) else repr(value)


def name_of(function: object, otherwise: str) -> str:
    """The name of a function as code; ``otherwise`` for a lambda or an object, which have none."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else otherwise


def nameless(value: Any, name: str = "") -> Iterator[str]:
    """The names in the code of ``value`` that stand for what has no code of its own."""
    value = _unwrapped(value)
    if isinstance(value, Declared):
        for declaration in params(value):
            of = getattr(value, declaration.name)
            yield from nameless(of, value._called(declaration.name))
        return
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from nameless(item)
    elif _is_array(value) or (callable(value) and not name_of(value, "")):
        yield as_code(value, name=name)


def _unwrapped(value: Any) -> Any:
    """The plain ``function`` in a value that is made of nothing else."""
    return getattr(value, "function", value) if isinstance(value, Declared) else value


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, NumPy's too; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_array(value: object) -> bool:
    return hasattr(value, "shape") and not isinstance(value, Real)


def _values(of: Any) -> list[Any]:
    return [getattr(of, name) for name in _names(type(of))]  # type: ignore[arg-type]


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _same(a: Any, b: Any) -> bool:
    """Equality; tensors, which compare number by number, are the same only if they are one."""
    if a is b or type(a) is not type(b) or _is_array(a):
        return a is b
    return isinstance(a == b, bool) and a == b


def _with_parameters(cls: type) -> str:
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    if "Parameters" in text or text.startswith(cls.__name__ + "("):
        text = ""
    lines = [f"    {p.name} (default {p.default!r}): {_words(p)}." for p in params(cls)]
    return text + ("\n\nParameters\n" + "\n".join(lines) if lines else "")


def _words(declaration: Param) -> str:
    return "; ".join(filter(None, (declaration.doc, declaration.legal)))
