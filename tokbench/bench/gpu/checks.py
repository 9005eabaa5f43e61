"""Steps that are tests: what ``pytest -m gpu`` holds, a folder at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tokbench.bench.gpu.account import Work
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.errors import TokbenchError

REHEARSAL = "TOKBENCH_GPU_TESTS_ON"  # a device: where the tests that are marked gpu run in place of a GPU
_TESTS = Path(__file__).resolve().parents[3] / "tests"
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")


def rehearsed_on() -> str:
    """The device that stands in for a GPU in tests; empty: none does."""
    return os.environ.get(REHEARSAL, "")


def tests(folder: str) -> Callable[[Setting], Answer]:
    """The tests of ``tests/FOLDER`` that are marked ``gpu``."""

    def run(setting: Setting) -> Answer:
        if not (_TESTS / folder).is_dir():
            raise TokbenchError(f"tests/{folder} is not here: run this from a checkout")
        command = [sys.executable, "-m", "pytest", str(_TESTS / folder), "-m", "gpu", "-p", "no:cacheprovider", "-rA"]
        command.append("--show-capture=no")  # torch's compiler logs more than is kept below
        environment = {**os.environ, REHEARSAL: "" if setting.device == "cuda" else setting.device}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=_TESTS.parent)
        counts = {what: int(number) for number, what in _COUNT.findall(done.stdout.strip().split("\n")[-1])}
        lines = [line for line in done.stdout.split("\n") if line.startswith(("PASSED", "FAILED", "ERROR", "SKIPPED"))]
        if not counts.get("passed") and not counts.get("failed"):
            raise TokbenchError(f"no test ran in tests/{folder}: {(done.stdout + done.stderr).strip()[-300:]}")
        failed = counts.get("failed", 0) + counts.get("error", 0)
        said = done.stdout[-4000:] if failed else ""
        result = {"counts": counts, "tests": lines, "said": said}
        shown = ", ".join(f"{number} {what}" for what, number in counts.items())
        return Answer(shown, result, [Bar(f"failures in tests/{folder}", failed, 0, least=False)])

    return run


def nothing() -> Work:
    """Of tests nothing is counted: they compile and start processes."""
    return Work()
