"""Records and everything that is shown of them. Knows no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokbench.results.folder import regenerate as regenerate

__all__ = ["regenerate"]


def __getattr__(name: str) -> object:
    # Late, so that importing a record's type does not import tables and figures.
    if name == "regenerate":
        from tokbench.results.folder import regenerate

        return regenerate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
