"""A script on several processes of this machine, joined over gloo as `accelerate launch` joins them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from fork_server import ForkServer


def run_processes(
    server: ForkServer, folder: Path, script: str, *arguments: str, processes: int = 2, **environment: str
) -> None:
    """Run Python code ``processes`` times side by side, on the CPU with one thread each; one alone is not joined.

    AssertionError with all it printed, kept in ``folder``, when one of them fails; none outlives the call.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", **environment}
    children: list[tuple[int, Path]] = []
    try:
        for rank in map(str, range(processes)):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes)} if processes > 1 else {}
            printed = folder / f"printed-{rank}"
            children.append(
                (server.start(script, *arguments, environment={**common, **place}, output=printed), printed)
            )
        while children:
            child, printed = children[0]
            code = server.wait(child)
            children.pop(0)
            assert code == 0, printed.read_text()
    finally:
        for child, _ in children:
            os.kill(child, signal.SIGKILL)
            server.wait(child)
