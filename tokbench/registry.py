"""Things by name, found by being there: a module of one package, named like the thing, registers it on import."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tokbench.errors import TokbenchError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """``what`` is what they are called in messages; a name that is not known yet is looked for in ``package``."""

    def __init__(self, what: str, package: str) -> None:
        self.what, self.package = what, package
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that makes something known under ``name``. ValueError for a name that is taken."""

        def add(made: T) -> T:
            if name in self._known:
                module = getattr(self._known[name], "__module__", "another module")
                raise ValueError(f"the {self.what} {name!r} is already registered by {module}")
            self._known[name] = made
            return made

        return add

    def find(self, name: str) -> T | None:
        """What is registered under ``name``, after importing the module of that name; None where there is none."""
        module = name.replace("-", "_")
        if name not in self._known and module.isidentifier():
            if importlib.util.find_spec(f"{self.package}.{module}") is not None:
                importlib.import_module(f"{self.package}.{module}")
        return self._known.get(name)

    def get(self, name: str) -> T:
        """As ``find``; TokbenchError, which says what was meant, where there is none."""
        found = self.find(name)
        if found is None:
            raise TokbenchError(f"unknown {self.what} {name!r}{did_you_mean(name, self._known)}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
