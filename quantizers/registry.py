"""Quantizers by name. A file in this package with one ``@register("name")`` class is all a new quantizer needs."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from quantizers.base import Quantizer
    from quantizers.tunable import Tunable

Q = TypeVar("Q", bound="type[Quantizer]")

_CLASSES: dict[str, type[Quantizer]] = {}
_THIRD_PARTY = "vqp:"  # "vqp:ResidualVQ" is vector-quantize-pytorch's class of that name
_NOT_OPTIONS = ("self", "dim", "channel_first")


def register(name: str) -> Callable[[Q], Q]:
    """Class decorator: makes the class reachable as ``build(name)``. A name is declared once; a second is an error."""

    def add(cls: Q) -> Q:
        if name in _CLASSES:
            raise ValueError(f"a quantizer named {name!r} exists already: {_CLASSES[name].__module__}")
        cls.name = name
        _CLASSES[name] = cls
        return cls

    return add


def names() -> list[str]:
    """Every registered name, sorted."""
    return sorted(_CLASSES)


def get(name: str) -> type[Quantizer]:
    """The class registered as ``name``; ValueError with the nearest known name otherwise."""
    if name not in _CLASSES:
        raise ValueError(f"no quantizer is named {name!r}{did_you_mean(name, names())}")
    return _CLASSES[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """The constructor's parameters by name, without ``dim`` and ``channel_first``, which belong to the caller."""
    if name.startswith(_THIRD_PARTY):
        from quantizers.third_party import third_party_options

        return third_party_options(name.removeprefix(_THIRD_PARTY))
    return {k: p for k, p in _parameters(get(name)).items() if k not in _NOT_OPTIONS}


def tunable(name: str, **given: Any) -> tuple[Tunable, ...]:
    """What is open of the quantizer of that name, and of one that it is made of (``quantizer="vq"`` among ``given``, or
    as its constructor has it).

    None of vector-quantize-pytorch's classes says.
    """
    if name.startswith(_THIRD_PARTY):
        return ()
    kind, inner = get(name), _inner(name, given)
    passed_on = [each for each in tunable(inner) if each.name not in kind.closed_inside] if inner else []
    return (*kind.tunable, *passed_on)


def defaults(name: str, **given: Any) -> dict[str, Any]:
    """Each option that has a default, those of a quantizer that it is made of too."""
    inner = _inner(name, given)
    own = {key: option.default for key, option in options(name).items() if option.default is not option.empty}
    return {**(defaults(inner) if inner else {}), **own}


def _inner(name: str, given: Mapping[str, Any]) -> str | None:
    """The name of the quantizer that this one is made of, where it is given by name."""
    option = options(name).get("quantizer")
    inner = given.get("quantizer", option.default if option else None)
    return inner if isinstance(inner, str) else None


def configurations(
    name: str,
    *,
    codebook_size: int | None = None,
    depth: int | None = None,
    bits: int | None = None,
    grid: Sequence[int] | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """What a sweep runs for one grid point: ``Quantizer.configurations`` of that name, ``vqp:`` classes included.

    With the ``grid`` of z ``configurations_on`` it, ``options`` being what is said beside.
    """
    request = {"codebook_size": codebook_size, "depth": depth, "bits": bits}
    if name.startswith(_THIRD_PARTY):
        from quantizers.third_party import third_party_configurations

        return third_party_configurations(name.removeprefix(_THIRD_PARTY), **request)
    cls = get(name)
    return cls.configurations(**request) if grid is None else cls.configurations_on(grid, options, **request)


def build(name: str, *, dim: int | None = None, **kwargs: Any) -> Quantizer:
    """Construct by name: ``build("rq", dim=256, codebook_size=2048, depth=4)``.

    ``build("vqp:ResidualVQ", dim=.., ...)`` wraps the class of that name of vector-quantize-pytorch.
    Raises ValueError naming the key where a keyword is unknown, missing or of the wrong type.
    """
    if name.startswith(_THIRD_PARTY):
        from quantizers.third_party import build_vector_quantize_pytorch

        return build_vector_quantize_pytorch(name.removeprefix(_THIRD_PARTY), dim=dim, **kwargs)
    cls = get(name)
    if dim is not None:
        kwargs["dim"] = dim
    check_options(cls, kwargs)
    return cls(**kwargs)


def check_options(cls: type[Quantizer], given: dict[str, Any]) -> None:
    """ValueError in one line where ``given`` does not fit the constructor of ``cls``."""
    known = _parameters(cls)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    plain = {k: p for k, p in known.items() if p.kind is not p.VAR_KEYWORD}
    hints = get_type_hints(cls.__init__)
    for key, value in given.items():
        if key not in plain:
            if open_ended:
                continue
            raise ValueError(f"{cls.name} has no option {key!r}{did_you_mean(key, plain)}")
        wanted = hints.get(key, Any)
        if not _fits(value, wanted):
            hint = did_you_mean(value, get_args(wanted)) if _is_choice(value, wanted) else ""
            raise ValueError(f"{cls.name}: {key} must be {_spelled(wanted)}, not {value!r}{hint}")
    missing = [k for k, p in plain.items() if p.default is p.empty and k not in given]
    if missing:
        raise ValueError(f"{cls.name} needs {', '.join(missing)}")


def _parameters(cls: type[Quantizer]) -> dict[str, inspect.Parameter]:
    return {k: p for k, p in inspect.signature(cls.__init__).parameters.items() if k != "self"}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'rq'?)"`` where something known is near ``word``, else what is known."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(known)})"


def _is_choice(value: object, wanted: Any) -> bool:
    return get_origin(wanted) is Literal and isinstance(value, str)


def _fits(value: Any, wanted: Any) -> bool:
    origin, args = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return True
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if wanted is None or wanted is type(None):
        return value is None
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, (list, tuple)) and all(_fits(v, args[0]) for v in value)
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _spelled(wanted: Any) -> str:
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_spelled(a) for a in args)
    if wanted is type(None):
        return "null"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_spelled(args[0])}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a string"}.get(wanted, str(wanted))
