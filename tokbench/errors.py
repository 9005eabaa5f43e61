"""The one exception that means "the user can mend this": the command line prints its message and no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 20  # names in a message


class TokbenchError(Exception):
    """A mistake in what was given (a path, a key, a shape, a value). The message is one line and says what to do.

    What cannot be printed (a file's name may hold a terminal's control codes) is written as an escape.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__("\n".join(printable(line) for line in str(message).split("\n")))


class TokbenchWarning(UserWarning):
    """Something odd about what was given that stops nothing, in one line. The command line prints that line alone."""


def printable(text: str, most: int | None = None) -> str:
    """``text`` with escapes for what cannot be printed, line ends included, cut to ``most`` characters."""
    if most is not None and len(text) > most:
        text = f"{text[: most - 4]} ..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object, most: int = 80) -> str:
    """``repr(value)``, cut to ``most`` characters: a value that was given may be a whole file by mistake."""
    try:
        return printable(repr(value), most)
    except ValueError:  # Python writes out no number of more than 4300 digits
        return f"a {type(value).__name__} too large to show"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'rq'?)"`` when something known is near ``word``, else the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word[:64], names, n=1, cutoff=0.6)  # its time grows with the length
    if near:
        return f" (did you mean {near[0]!r}?)"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" (known: {', '.join(names[:_LISTED])}{more})"
