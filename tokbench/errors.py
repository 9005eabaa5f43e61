"""The one exception that means "the user can fix this": the command line prints its message and no traceback."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

from tokbench.secrets import redacted

_LISTED = 20  # names in a message


class TokbenchError(Exception):
    """A mistake in what was given (a path, a key, a shape, a value). The message is one line and says what to do.

    What cannot be printed (a file's name may hold line ends and a terminal's control codes) is written as an escape,
    and what a URL holds of a password or a signature is left out.

    Args:
        lines: one; several where several mistakes are reported at once.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*(visible(str(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class TokbenchWarning(UserWarning):
    """Something odd about what was given that stops nothing, in one line. The command line prints that line alone."""


def printable(text: str, most: int | None = None) -> str:
    """``text`` cut to ``most`` characters and safe to show: in one line, and nothing in it steers a terminal.

    Escapes stand for control codes (C0, C1, line ends), for what reorders or hides text (bidirectional controls,
    zero-width characters) and for what is not a character (halves of a surrogate pair: bytes of a file's name).
    """
    if most is not None and len(text) > most:
        text = f"{text[: most - 4]} ..."
    return text if text.isprintable() else "".join(map(_shown, text))


def visible(text: str) -> str:
    """``text`` as it may be shown, whoever wrote it: ``printable``, without secrets."""
    return printable(redacted(text))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # a space of another width harms nobody
        return character
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException, most: int = 200) -> str:
    """What another library's error says first, safe to show; the error's class where it says nothing."""
    return printable(str(error).strip().partition("\n")[0] or type(error).__name__, most)


def shown(value: object, most: int = 80) -> str:
    """``repr(value)``, cut to ``most`` characters: a value that was given may be a whole file by mistake."""
    try:
        return printable(repr(value), most)
    except ValueError:  # Python writes out no number of more than 4300 digits
        return f"a {type(value).__name__} too large to show"


def counted(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``, ``1,000 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size_text(size: int | Sequence[int]) -> str:
    """``64x96``, ``17x64x64``: height and width, frames first; a number alone is the side of a square."""
    return "x".join(map(str, (size, size) if isinstance(size, int) else size))


def typed(size: int | Sequence[int]) -> str:
    """As a recipe has it: ``64``, ``64x96``."""
    return str(size) if isinstance(size, int) else size_text(size)


def noun_of(size: int | Sequence[int] | None) -> str:
    """What samples of a size are: ``clip`` of three numbers, else ``image``."""
    return "clip" if not isinstance(size, int) and size is not None and len(size) == 3 else "image"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'rq'?)"`` when something known begins with ``word``, is near it or holds it, else what is
    known."""
    names = sorted(known)
    meant = [name for name in names if len(word) > 2 and name.startswith(word)]
    meant = meant or difflib.get_close_matches(word[:64], names, n=1, cutoff=0.6)  # its time grows with the length
    meant = meant or [name for name in names if len(word) > 2 and word in name]
    if meant:
        return f" (did you mean {' or '.join(repr(name) for name in meant[:_LISTED])}?)"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" (known: {', '.join(names[:_LISTED])}{more})"
