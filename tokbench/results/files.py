"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from tokbench.errors import TokbenchError


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content``; a reader sees the old file or the new one, never half of either.

    Raises:
        TokbenchError: the file cannot be written; what was there before still is.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise TokbenchError(f"{target}: cannot write: {error.strerror or error}") from error
