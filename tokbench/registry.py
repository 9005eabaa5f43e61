"""Things by name, found by being there: a module of one package registers them when it is imported."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tokbench.errors import TokbenchError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """``what`` is what they are called in messages; ``package`` is where their modules lie.

    A name that is not known yet is looked for in the module of that name, then in all others. Iterating gives the names
    of all there are, sorted.
    """

    def __init__(self, what: str, package: str) -> None:
        self.what, self.package = what, package
        self._known: dict[str, T] = {}
        self._complete = False

    def add(self, name: str, made: T) -> None:
        """Make something known under ``name``. ValueError for a name that is taken."""
        if name in self._known:
            module = getattr(self._known[name], "__module__", "another module")
            raise ValueError(f"the {self.what} {name!r} is already registered by {module}")
        self._known[name] = made

    def register(self, name: str) -> Callable[[T], T]:
        """``add`` as a decorator."""

        def decorate(made: T) -> T:
            self.add(name, made)
            return made

        return decorate

    def find(self, name: str) -> T | None:
        """What is registered under ``name``; None where there is nothing."""
        if name not in self._known:
            self._import(name.replace("-", "_"))
        if name not in self._known:
            self._import_all()
        return self._known.get(name)

    def get(self, name: str) -> T:
        """As ``find``; TokbenchError, which says what was meant, where there is nothing."""
        found = self.find(name)
        if found is None:
            raise TokbenchError(f"unknown {self.what} {name!r}{did_you_mean(name, self._known)}")
        return found

    def loaded(self) -> list[T]:
        """Those whose modules are imported by now, in the order of their coming."""
        return list(self._known.values())

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def __iter__(self) -> Iterator[str]:
        self._import_all()
        return iter(sorted(self._known))

    def __len__(self) -> int:
        self._import_all()
        return len(self._known)

    def _import(self, module: str) -> None:
        """The module of that name, where there is one."""
        if module.isidentifier() and not module.startswith("__"):
            if importlib.util.find_spec(f"{self.package}.{module}") is not None:
                importlib.import_module(f"{self.package}.{module}")

    def _import_all(self) -> None:
        if not self._complete:
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._complete = True
