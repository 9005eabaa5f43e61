"""YAML as people expect it: ``1e-4`` is a number, a key given twice is an error."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tokbench.errors import TokbenchError, printable, shown
from tokbench.reading import read_regular, reason_of

_LARGEST = 2**20  # bytes; recipes have a few thousand


class _Loader(yaml.SafeLoader):
    """Plain values, each written where it stands."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # A few lines of aliases of aliases stand for more values than any memory holds.
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            problem = f"the alias *{event.anchor} is not read: write the value out"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


# YAML 1.1 (PyYAML) reads 1e-4 as a string because the mantissa has no dot.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)|\d[\d_]*\.[\d_]*|\.\d[\d_]*([eE][-+]?\d+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@lru_cache(maxsize=128)
def _parsed(text: str) -> Any:
    """What a text stands for. The shipped recipes build on each other: a sweep or a claim asks for a few hundreds of
    times, and PyYAML takes milliseconds for each."""
    return yaml.load(text, _Loader)


def parse_value(text: str) -> Any:
    """One value as written on the command line: ``3``, ``1e-4``, ``true``, ``[1, 2]``, ``rq``."""
    try:
        return copy.deepcopy(_parsed(text))
    except Exception as error:  # as below
        raise TokbenchError(f"{shown(text)} is not a YAML value: {_reason(error)}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a file holds. Raises TokbenchError naming file and line where it is damaged."""
    try:
        text = read_regular(path, _LARGEST).decode()
    except FileNotFoundError:
        raise TokbenchError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TokbenchError(f"{path}: is a folder, not a recipe file") from None
    except UnicodeDecodeError:
        raise TokbenchError(f"{path}: is not a text file") from None
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path}: cannot be read as a recipe: {reason_of(error)}") from None
    try:
        value = copy.deepcopy(_parsed(text))
    except Exception as error:  # for a value like `!!bool maybe` PyYAML raises KeyError, IndexError, AttributeError...
        raise TokbenchError(f"{path}: is not valid YAML: {_reason(error)}") from None
    if not isinstance(value, dict):
        found = "is empty" if value is None else f"holds {type(value).__name__}"
        raise TokbenchError(f"{path}: {found}, expected keys and values")
    return value


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}" if mark is not None else ""
    reason = getattr(error, "problem", None) or (str(error) if str(error) else type(error).__name__)
    if not isinstance(error, (yaml.YAMLError, ValueError, RecursionError)):
        reason = f"a value that is not of its tag's kind ({reason})"
    return printable(" ".join(str(reason).split()), 160) + where
