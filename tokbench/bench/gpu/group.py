"""A process and all that it starts, ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time

_GRACE = 20.0  # seconds to save what there is, after being told to stop


def end(process: subprocess.Popen[bytes]) -> None:
    """The leader of a group and the rest of it: asked first, so that a training run saves its state."""
    for which, grace in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, which)
        ends = time.monotonic() + grace
        while _any_left(process) and time.monotonic() < ends:
            time.sleep(0.02)
    if process.stdin is not None:
        process.stdin.close()


def _any_left(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # the leader ends at once, where what it started still saves
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_word() -> None:
    """Wait for a byte on standard input, and from then on have this process's group end with the process that holds the
    other end of it, however that ends: what nobody waits for would run beside the next measurement."""
    if not os.read(0, 1):
        os._exit(0)

    def wait() -> None:
        os.read(0, 1)
        os.killpg(os.getpgrp(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
