"""A progress bar for what takes minutes with large sets, shown only where someone looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress

from tokbench import printing

WORTH_SHOWING = 2_000
"""Fewer images are done before a bar could be read."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """A bar over ``total`` images on standard error, gone when done. Call ``advance`` of its only task, 0."""
    hidden = total < WORTH_SHOWING or not sys.stderr.isatty()
    with printing.progress_bar(printing.terminal(stderr=True), disable=hidden) as bar:
        bar.add_task(what, total=total)
        yield bar
