"""Reading a file whose name came from outside: a record's artifact, a row of a table, an image in a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def beneath(folder: Path, name: str | os.PathLike[str]) -> Path | None:
    """Where ``name``, relative to ``folder``, lies once links and ``..`` are followed; None outside of ``folder``.

    Raises:
        OSError, ValueError: no path at all: a zero in it, links in a circle.
    """
    try:
        home = folder.resolve()
        path = (home / name).resolve()
    except RuntimeError as error:  # what Python before 3.13 raises for links in a circle
        raise ValueError(str(error)) from None
    return path if path.is_relative_to(home) else None


def read_regular(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The whole of an ordinary file, of at most ``most`` bytes.

    Raises:
        OSError, ValueError: it is not there or cannot be read; it is too large; or it is a pipe, a device or a socket,
            which may never end or never begin.
    """
    # Without O_NONBLOCK opening a pipe waits for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("is a folder" if stat.S_ISDIR(mode) else "is a pipe or a device, not an ordinary file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(-1 if most is None else most + 1)
    finally:
        os.close(descriptor)
    if most is not None and len(content) > most:
        raise ValueError(f"is larger than {most / 2**20:.4g} MiB")
    return content


def reason_of(error: OSError | ValueError) -> str:
    """Why, without the path, which the caller has."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Of a file of any size, in hexadecimal digits. OSError where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
