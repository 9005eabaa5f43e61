"""Thousands of records at once, quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's cycle collector off for a while.

    A record is about a hundred objects and no cycle, yet the collector walks all of them again and again while more
    are made: with 10,000 records that is most of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
