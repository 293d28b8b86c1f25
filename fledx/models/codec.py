"""The one adapter of the validation library: JSON-like data to models and back, with every fault named by its path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fledx.errors import InvalidSpec

T = TypeVar("T")
MAX_PROBLEMS = 50
MOST_GUESSES = 5


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
    from cattrs.errors import BaseValidationError

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

    @converter.register_structure_hook_factory(dataclasses.is_dataclass)
    def models(kind: Any) -> Callable[[Any, Any], Any]:
        whole = converter.gen_structure_attrs_fromdict(kind)

        def structure(value: Any, kind: Any) -> Any:
            try:
                return whole(value, kind)
            except BaseValidationError as faults:
                if more := _own_faults(kind, value, faults, converter):
                    raise faults.derive([*faults.exceptions, more]) from None
                raise

        return structure

    return converter


def _own_faults(cls: Any, value: Any, faults: Any, converter: Any) -> InvalidSpec | None:
    """
    What a model itself has to say against data of which some fields are of wrong types, or missing.

    These are given a harmless stand-in, and what is said of them is left out; so is what concerns the model as a whole.
    """
    bad = {fault.args[0] if isinstance(fault, KeyError) else _step(fault).strip(".") for fault in faults.exceptions}
    if not isinstance(value, Mapping) or any(isinstance(f, InvalidSpec) and not _step(f) for f in faults.exceptions):
        return None
    hints = get_type_hints(cls)
    trial = object.__new__(cls)
    for field in dataclasses.fields(cls):
        known = field.name in value and field.name not in bad
        found = converter.structure(value[field.name], hints[field.name]) if known else _stand_in(field, hints)
        object.__setattr__(trial, field.name, found)
    return _said(trial, bad)


def _said(trial: Any, unknown: Collection[str]) -> InvalidSpec | None:
    try:
        getattr(trial, "__post_init__", lambda: None)()
    except InvalidSpec as own:
        found = [each for each in own.problems if re.split(r"[.\[]", each[0])[0] not in {"", *unknown}]
        return InvalidSpec.of(found) if found else None
    except (TypeError, ValueError, AttributeError, LookupError):
        return None  # its checks do not get along with the stand-in
    return None


def _stand_in(field: dataclasses.Field[Any], hints: Mapping[str, Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    plain = {str: "x", int: 1, float: 1.0, bool: False}
    return plain.get(hints[field.name], {} if get_origin(hints[field.name]) is Mapping else ())


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


def _meant(field: str, known: Sequence[str]) -> str:
    """The name that was probably meant."""
    import difflib

    found = difflib.get_close_matches(field.lower(), known, n=1, cutoff=0.7)
    return f": did you mean {found[0]}?" if found else ""


def _one(fault: BaseException, path: str) -> list[tuple[str, str]]:
    from cattrs.errors import ForbiddenExtraKeysError

    where = path.lstrip(".")
    if isinstance(fault, InvalidSpec):
        return [(_joined(where, inner), text) for inner, text in fault.problems]
    if isinstance(fault, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(fault.cl)] if dataclasses.is_dataclass(fault.cl) else []
        extra = [str(field)[:60] for field in sorted(fault.extra_fields)]
        return [
            (_joined(where, field), "is not a known field" + (_meant(field, known) if i < MOST_GUESSES else ""))
            for i, field in enumerate(extra)
        ]
    if isinstance(fault, KeyError):
        return [(where, "is missing")]
    if isinstance(fault, ValueError):
        return [(where, str(fault))]
    return [(where, "has the wrong shape")]


def _joined(path: str, inner: str) -> str:
    if not path or not inner:
        return path or inner
    return path + inner if inner.startswith("[") else f"{path}.{inner}"
