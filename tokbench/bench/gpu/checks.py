"""Steps that are tests: what ``pytest -m gpu`` holds, a folder at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tokbench.bench.gpu.account import Work
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.errors import TokbenchError

REHEARSAL = "TOKBENCH_GPU_TESTS_ON"  # a device: where the tests that are marked gpu run in place of a GPU
_TESTS = Path(__file__).resolve().parents[3] / "tests"
_ENDED = re.compile(r"(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b( \(.*\))?")


def rehearsed_on() -> str:
    """The device that stands in for a GPU in tests; empty: none does."""
    return os.environ.get(REHEARSAL, "")


def tests(folder: str) -> Callable[[Setting], Answer]:
    """The tests of ``tests/FOLDER`` that are marked ``gpu``."""

    def run(setting: Setting) -> Answer:
        if not (_TESTS / folder).is_dir():
            raise TokbenchError(f"tests/{folder} is not here: run this from a checkout")
        command = [sys.executable, "-m", "pytest", str(_TESTS / folder), "-m", "gpu", "-p", "no:cacheprovider", "-v"]
        command.append("--show-capture=no")  # torch's compiler logs more than is kept below
        where = "" if setting.device == "cuda" else setting.device
        environment = {**os.environ, REHEARSAL: where, "COLUMNS": "300"}  # why a test was skipped is cut to the line
        said, ended = "", []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=_TESTS.parent
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said += line
                if test := _ENDED.match(line):
                    ended.append(f"{test[2]} {test[1]}{test[3] or ''}")
                    setting.keep(_answer(folder, ended, said))
        answer = _answer(folder, ended, said)
        counts = answer.result["counts"]
        if not counts["passed"] + counts["failed"] or process.returncode != (0 if answer.bars[0].met else 1):
            raise TokbenchError(f"tests/{folder}: pytest ended with {process.returncode}: {said.strip()[-300:]}")
        return answer

    return run


def _answer(folder: str, ended: list[str], said: str) -> Answer:
    """Of the tests that have ended, ``WORD NAME`` each, and what pytest said."""
    counts = Counter(line.split(" ")[0].lower() for line in ended)
    failed = counts["failed"] + counts["error"]
    result = {"counts": counts, "tests": ended, "said": said[-4000:] if failed else ""}
    shown = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return Answer(shown, result, [Bar(f"failures in tests/{folder}", failed, 0, least=False)])


def nothing() -> Work:
    """Of tests nothing is counted: they compile and start processes."""
    return Work()
