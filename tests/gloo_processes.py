"""A script on several processes of this machine, joined over gloo as `accelerate launch` joins them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_processes(script: str, *arguments: str, processes: int = 2, **environment: str) -> None:
    """Run Python code ``processes`` times side by side, on the CPU with one thread each; one alone is not joined.

    AssertionError with all it printed when one of them fails; none outlives the call.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    children = []
    for rank in map(str, range(processes)):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes)} if processes > 1 else {}
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                env={**os.environ, **common, **place, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        for child in children:
            printed, _ = child.communicate(timeout=600)
            assert child.returncode == 0, printed
    finally:
        for child in children:
            child.kill()
