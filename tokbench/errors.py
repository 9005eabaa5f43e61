"""The one exception that means "the user can mend this": the command line prints its message and no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TokbenchError(Exception):
    """A mistake in what was given (a path, a key, a shape, a value). The message is one line and says what to do."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'rq'?)"`` when something known is near ``word``, else the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(names)})"
