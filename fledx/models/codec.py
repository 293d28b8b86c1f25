"""The one adapter of the validation library: JSON-like data to models and back, with every fault named by its path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args

from fledx.errors import InvalidSpec

T = TypeVar("T")
MAX_PROBLEMS = 50


def encode(value: Any) -> Any:
    """Dicts, lists and scalars for a model; fields that are None are left out, so that old readers stay content."""
    kind: Any = type(value)
    if kind in _WORDS:
        return value
    if (names := _fields(kind)) is not None:
        found = {}
        for name in names:
            if (item := getattr(value, name)) is not None:
                found[name] = item if type(item) in _WORDS else encode(item)
        return found
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


@cache
def _fields(kind: type) -> tuple[str, ...] | None:
    """The names of a model's fields, looked up once: lists and reports encode thousands of models a second."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def decode(cls: type[T], data: Any) -> T:
    """
    A model from a user's data; unknown fields are refused.

    Raises InvalidSpec with all faults. Scalars are never turned into others: `"12"` is not a number, nor is true.
    """
    return _structured(cls, data, extra="refused")


def decode_lenient(cls: type[T], data: Any) -> T:
    """The same for data of a peer or a database of another version: unknown fields are left out."""
    return _structured(cls, data, extra="ignored")


def _structured(cls: type[T], data: Any, *, extra: str) -> T:
    from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError

    try:
        made: T = _converter(extra).structure(data, cls)
        return made
    except InvalidSpec:
        raise
    except BaseValidationError as faults:
        raise InvalidSpec.of(_problems(faults, "")[:MAX_PROBLEMS]) from None
    except StructureHandlerNotFoundError:
        raise
    except Exception as fault:
        raise InvalidSpec.of(_one(fault, "")) from None


@cache
def _converter(extra: str) -> Any:
    """A converter that refuses to coerce; built once, as making its functions costs milliseconds a class."""
    from cattrs import Converter
    from cattrs.cols import homogenous_tuple_structure_factory

    converter = Converter(detailed_validation=True, forbid_extra_keys=extra == "refused")
    for scalar in (int, float, str, bool):
        converter.register_structure_hook(scalar, _scalar)

    @converter.register_structure_hook_factory(lambda kind: get_args(kind)[1:] == (...,))
    def lists(kind: Any) -> Callable[[Any, Any], Any]:
        items = homogenous_tuple_structure_factory(kind, converter)

        def structure(value: Any, kind: Any) -> Any:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{_shown(value)} is not a list")
            return items(value, kind)

        return structure

    return converter


def _scalar(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{_shown(value)} is not {_WORDS[kind]}")
    return value


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def _problems(faults: Any, path: str) -> list[tuple[str, str]]:
    """Flatten the library's tree of errors; where each stands is noted on the exception that holds it."""
    found: list[tuple[str, str]] = []
    for fault in faults.exceptions:
        inner = path + _step(fault)
        nested = getattr(fault, "exceptions", None)
        found += _problems(fault, inner) if nested else _one(fault, inner)
    return found


def _step(fault: BaseException) -> str:
    for note in getattr(fault, "__notes__", ()):
        if (name := getattr(note, "name", None)) is not None:
            return f".{name}"
        if (index := getattr(note, "index", None)) is not None:
            return f"[{index}]" if isinstance(index, int) else f".{index}"
    return ""


def _one(fault: BaseException, path: str) -> list[tuple[str, str]]:
    from cattrs.errors import ForbiddenExtraKeysError

    where = path.lstrip(".")
    if isinstance(fault, InvalidSpec):
        return [(_joined(where, inner), text) for inner, text in fault.problems]
    if isinstance(fault, ForbiddenExtraKeysError):
        return [(_joined(where, str(field)[:60]), "is not a known field") for field in sorted(fault.extra_fields)]
    if isinstance(fault, KeyError):
        return [(where, "is missing")]
    if isinstance(fault, ValueError):
        return [(where, str(fault))]
    return [(where, "has the wrong shape")]


def _joined(path: str, inner: str) -> str:
    if not path or not inner:
        return path or inner
    return path + inner if inner.startswith("[") else f"{path}.{inner}"
