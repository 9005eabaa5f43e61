"""Carrying out the plan: each step in a process of its own, its record written the moment it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokbench.bench.gpu.plan import chosen
from tokbench.bench.gpu.step import Setting, Step
from tokbench.errors import TokbenchError
from tokbench.results.environment import provenance
from tokbench.results.files import write

DONE, FAILED = "done", "failed"
_GRACE = 20.0  # seconds that a step has to save what it has once it is told to stop
_ROOM = 1 / 3  # of the longest that a step may take, which must be left to begin it


@dataclass(frozen=True)
class Found:
    """The record of a step, or that there is none: ``state`` is then empty."""

    step: Step
    state: str
    seconds: float | None
    says: str
    bars: list[dict[str, Any]]


def found(step: Step, setting: Setting) -> Found:
    """What the folder holds of a step; of another device or size, or unreadable: nothing."""
    try:
        record = json.loads((setting.folder / f"{step.key}.json").read_text())
        if (record["on"], record["tiny"]) == (setting.device, setting.tiny):
            return Found(step, record["state"], record["seconds"], record["says"], record["bars"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Found(step, "", None, "", [])


def order(steps: Sequence[Step], setting: Setting, again: bool) -> list[Step]:
    """Those to be run: never tried ones in their order, then those that failed; ``again``: all."""
    if again:
        return list(steps)
    states = {step.key: found(step, setting).state for step in steps}
    return [s for s in steps if not states[s.key]] + [s for s in steps if states[s.key] == FAILED]


def run(setting: Setting, *, minutes: float, only: Sequence[str] = (), say: Callable[[str], None]) -> list[Found]:
    """Steps until the time is over; what has no room is left for the next call. All records there are then."""
    steps, ends = chosen(only), time.monotonic() + 60 * minutes
    for step in order(steps, setting, again=bool(only)):
        left = ends - time.monotonic()
        if left < max(1.0, 0.0 if setting.tiny else _ROOM * step.most):
            say(f"{step.key}: left for another call, {max(0.0, left):.0f} s are not enough")
            continue
        say(f"{step.key}: {step.asks}")
        began = time.monotonic()
        outcome = _in_own_process(step, setting, left if setting.tiny else min(step.most, left))
        if outcome and found(step, setting).state == DONE:
            say(f"  {outcome.splitlines()[-1]}; its earlier record stays")
            continue
        if outcome:
            _keep(step, setting, FAILED, time.monotonic() - began, says=outcome.split("\n")[-1], said=outcome)
        now = found(step, setting)
        say(f"  {now.state} in {now.seconds:.0f} s: {now.says}" if now.seconds is not None else f"  {outcome}")
        for bar in () if setting.tiny else now.bars:
            say(f"  {bar['text']}")
    return [found(step, setting) for step in steps]


def _in_own_process(step: Step, setting: Setting, seconds: float) -> str:
    """Empty where it wrote its record; else why it did not, its last words at the end, and what was there stays."""
    record = setting.folder / f"{step.key}.json"
    before = record.read_bytes() if record.is_file() else b""
    code = "import sys; from tokbench.bench.gpu.run import child; child(*sys.argv[1:])"
    command = [sys.executable, "-c", code, step.key, setting.device, str(int(setting.tiny)), str(setting.folder)]
    log = setting.folder / f"{step.key}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*command, setting.data], stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(seconds)
            stopped = ""
        except subprocess.TimeoutExpired:
            stopped = f"stopped after {seconds:.0f} s"
        finally:
            _end(process)
    said = log.read_text(errors="replace").strip()[-2000:]
    if found(step, setting).state == DONE and record.read_bytes() != before:  # it says when it was made
        log.unlink()
        return ""
    return "\n".join(filter(None, [said, stopped])) or f"ended with {process.returncode} and said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The step and all that it started: asked first, so that a training run saves its state."""
    for which, grace in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, which)
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)


def child(key: str, device: str, tiny: str, folder: str, data: str) -> None:
    """One step, here; its record is written, or the error printed."""
    setting, began = Setting(device, tiny == "1", Path(folder), data), time.monotonic()
    with _leaving():
        [step] = chosen([key])
        answer = step.run(setting)
        bars = [{**asdict(bar), "met": bar.met, "text": bar.text()} for bar in answer.bars]
        _keep(
            step, setting, DONE, time.monotonic() - began, says=answer.says, bars=bars, result=answer.result,
            device=_name(device),
        )  # fmt: skip


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """A mistake is one line, anything else its whole story with that line at the end."""
    try:
        yield
    except TokbenchError as error:
        sys.exit(str(error))
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _keep(step: Step, setting: Setting, state: str, seconds: float, **more: Any) -> None:
    record = {
        "step": step.key, "asks": step.asks, "state": state, "on": setting.device, "tiny": setting.tiny,
        "data": setting.data, "seconds": round(seconds, 1), "bars": [], **more, **provenance(),
    }  # fmt: skip
    write(setting.folder / f"{step.key}.json", json.dumps(record, indent=1, default=str) + "\n")


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
