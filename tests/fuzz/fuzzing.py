"""What every fuzz test asserts: it works, or one line says why not; soon, in little memory, inside its folder.

``TOKBENCH_FUZZ=10000`` sets the examples a test (``make fuzz``); the suite runs a few.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tokbench.errors import TokbenchError

EXAMPLES = int(os.environ.get("TOKBENCH_FUZZ", "20"))
SECONDS = 15.0  # of processor time; an example takes milliseconds
MEMORY = 3 * 2**29  # on top of what the process has: less than any of the sizes that the headers here claim
LONGEST = 500  # characters of a message, beside the file's name

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 1000,  # the suite gives the same answer twice; the long run looks further every time
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.explain],
)


@dataclass
class Refused:
    """What was raised: a TokbenchError with this message."""

    message: str


class Hang(BaseException):
    """Not an Exception: nothing may catch it."""


def survives(action: Callable[[], Any], inside: Path, names: str | None = None, lines: int = 1) -> Any:
    """What ``action`` returns, or ``Refused``. Fails for any other exception, a message that is no clear line, a hang,
    more memory than ``MEMORY``, a program that is started, and a file that is written outside of ``inside``.

    Args:
        names: what the message must name.
        lines: as many lines the message may have at most.
    """
    with _watched(inside) as strays, _limited():
        try:
            result = action()
        except TokbenchError as error:
            result = Refused(str(error))
    assert not strays, list(strays)
    if isinstance(result, Refused):
        parts = result.message.split("\n")
        assert 0 < len(parts) <= lines, f"{len(parts)} lines: {result.message[:1000]}"
        for line in parts:
            assert line.strip() and line.isprintable(), repr(line[:1000])
            assert len(line) < LONGEST + len(names or ""), f"{len(line)} characters: {line[:1000]}"
        assert names is None or names in result.message, result.message
    return result


@contextmanager
def _limited() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    previous = signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _hang(number: int, frame: object) -> None:
    raise Hang(f"no end after {SECONDS} seconds")


# Python tells its audit hooks of every file that is opened and every program that is started. A hook cannot be taken
# away again, so there is one, which looks only while something is watched.
_inside: Path | None = None
_strays: list[str] = []
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_TARGETS = {"os.rename": 1, "os.mkdir": 0, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.rmdir": 0}
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _inside is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes)) and flags & _WRITING:
            _note("written", path)
    elif event in _TARGETS:
        _note(event, arguments[_TARGETS[event]])
    elif event in _PROGRAMS:
        _strays.append(f"{event}: {arguments[:2]}")


def _note(event: str, path: Any) -> None:
    assert _inside is not None
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    absolute = Path(os.path.abspath(os.fsdecode(path)))
    ours = absolute.is_relative_to(_inside) or "__pycache__" in absolute.parts or absolute == Path(os.devnull)
    if not ours:
        _strays.append(f"{event}: {absolute}")


sys.addaudithook(_audit)


@contextmanager
def _watched(inside: Path) -> Iterator[list[str]]:
    global _inside
    _strays.clear()
    _inside = inside.resolve()
    try:
        yield _strays
    finally:
        _inside = None


# Damage -----------------------------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 3, 8, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


@st.composite
def damaged(draw: st.DrawFn, originals: Sequence[bytes], most: int = 5) -> bytes:
    """One of the files, with up to ``most`` things done to its bytes."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(("flip", "set", "number", "cut", "drop", "repeat", "insert")))
        at = draw(st.integers(0, max(0, len(data) - 1)))
        # Headers are short and at the front, or at the back, as in a zip archive: most of the damage goes there.
        where = draw(st.integers(0, 3))
        at = at % 64 if where == 0 else at if where < 3 else len(data) - 1 - at % 128
        at = max(0, min(at, len(data) - 1))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "number":
            form = draw(st.sampled_from(("<B", "<H", ">H", "<I", ">I", "<Q")))
            packed = struct.pack(form, draw(st.sampled_from(_NUMBERS)) % 256 ** struct.calcsize(form))
            data[at : at + len(packed)] = packed
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 16))]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


STRANGE_TEXT = (
    "", " ", ".", "..", "../up", "/etc/x", "a/b", "a\nb", "a\tb", "\x00", "\x1b[31mred", "<script>alert(1)</script>",
    "é", "\u202e", "x" * 5000, "nan", "null", "-1", "%s", "{0}", "[bold]", "C:\\x", "~", "$HOME", "photos", "folder:",
    "folder:/nowhere", "hub:", "codes:", "vq", "rq", "lfq", "fsq", "vqp:VectorQuantize", "vqgan", "ar", "mlm",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from((2**16, 2**31, 2**53, 2**63, 10**12, 10**30, 10**400, -(2**63))),
    st.sampled_from((0.0, -0.0, 0.5, 1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))),
    st.sampled_from(STRANGE_TEXT),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(STRANGE_TEXT), inner, max_size=3),
    max_leaves=8,
)
"""Anything a YAML or JSON file can hold."""


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in nested mappings and lists, blocks included."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*at, key)
        yield from leaves(inner, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy with the value at one place exchanged."""
    if not at:
        return new
    key, rest = at[0], at[1:]
    if isinstance(value, dict):
        return {**value, key: replaced(value.get(key), rest, new)}
    if isinstance(value, list) and isinstance(key, int):
        return [replaced(inner, rest, new) if i == key else inner for i, inner in enumerate(value)]
    return replaced({}, at, new)


@st.composite
def altered(draw: st.DrawFn, originals: Sequence[Any], most: int = 3) -> Any:
    """One of the structures with up to ``most`` values exchanged, keys added or taken away."""
    value = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, most))):
        places = list(leaves(value))
        if not places:
            break
        at = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("value", "value", "value", "new key", "take")))
        if kind == "new key":
            at = (*at[:-1], draw(st.sampled_from(STRANGE_TEXT)))
        if kind == "take":
            block = value
            for key in at[:-1]:
                block = block[key]
            if isinstance(block, dict):
                value = replaced(value, at[:-1], {k: v for k, v in block.items() if k != at[-1]})
        else:
            value = replaced(value, at, draw(VALUES))
    return value
