"""Carrying out the plan: each step in a process of its own, its record written the moment it ends."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from tokbench.bench.gpu.plan import chosen
from tokbench.bench.gpu.process import Process, processes
from tokbench.bench.gpu.step import Answer, Setting, Step
from tokbench.errors import TokbenchError
from tokbench.results.environment import provenance
from tokbench.results.files import write
from tokbench.results.locks import alone

DONE, FAILED, STOPPED = "done", "failed", "stopped"
_ROOM = 1 / 3  # of the longest that a step may take, which must be left to begin it
_MORE = 1.5  # times as long as a stopped step had, which makes it worth another try before the others


class Reached(msgspec.Struct):
    """A bar, as a record keeps it."""

    met: bool
    text: str


class _Kept(msgspec.Struct):
    on: str
    tiny: bool
    state: Literal["done", "failed", "stopped"]
    seconds: float
    says: str
    bars: list[Reached]
    so_far: str = ""


@dataclass(frozen=True)
class Found:
    """The record of a step, or that there is none: ``state`` is then empty.

    Args:
        so_far: what a step said before it was through, if it was stopped after that.
    """

    step: Step
    state: str = ""
    seconds: float | None = None
    says: str = ""
    bars: Sequence[Reached] = ()
    so_far: str = ""


def found(step: Step, setting: Setting) -> Found:
    """What the folder holds of a step; of another device or size, or unreadable: nothing."""
    try:
        kept = msgspec.json.decode((setting.folder / f"{step.key}.json").read_bytes(), type=_Kept)
    except (OSError, ValueError):
        return Found(step)
    if (kept.on, kept.tiny) != (setting.device, setting.tiny):
        return Found(step)
    return Found(step, kept.state, kept.seconds, kept.says, kept.bars, kept.so_far)


def order(steps: Sequence[Step], setting: Setting, seconds: float, again: bool) -> list[Step]:
    """Those to be run in so many seconds; ``again``: all.

    First those that were never tried, or that the end of the time stopped when it was far shorter, as planned; then
    those that were stopped or failed.
    """
    if again:
        return list(steps)
    states = [found(step, setting) for step in steps]
    fresh = [f.step for f in states if not f.state or (f.state == STOPPED and seconds > _MORE * (f.seconds or 0.0))]
    return fresh + [f.step for f in states if f.state in (STOPPED, FAILED) and f.step not in fresh]


def run(setting: Setting, *, minutes: float, only: Sequence[str] = (), say: Callable[[str], None]) -> list[Found]:
    """Steps until the time is over; what has no room is left for the next call. All records there are then.

    Raises:
        TokbenchError: another call is at work in the folder.
    """
    steps, ends = chosen(only), time.monotonic() + 60 * minutes
    with alone(setting.folder / ".lock", f"{setting.folder}: another `bench gpu` is at work here; wait for its end"):
        for running in processes(order(steps, setting, 60 * minutes, again=bool(only)), setting):
            step, left = running.step, ends - time.monotonic()
            if left < max(1.0, 0.0 if setting.tiny else _ROOM * step.most):
                say(f"{step.key}: left for another call, {max(0.0, left):.0f} s are not enough")
                continue
            say(f"{step.key}: {step.asks}")
            _one(running, setting, left, say)
    return [found(step, setting) for step in steps]


def _one(running: Process, setting: Setting, left: float, say: Callable[[str], None]) -> None:
    """A step, and what became of it."""
    step = running.step
    began, most = time.monotonic(), left if setting.tiny else min(step.most, left)
    outcome = _in_own_process(running, setting, most)
    took = time.monotonic() - began
    if outcome and found(step, setting).state == DONE:
        say(f"  {outcome.splitlines()[-1]}; its earlier record stays")
        return
    if outcome:
        _cut_short(step, setting, STOPPED if took >= most == left else FAILED, took, outcome)
    now = found(step, setting)
    say(f"  {now.state} in {now.seconds:.0f} s: {now.says}" if now.seconds is not None else f"  {outcome}")
    for bar in () if setting.tiny else now.bars:
        say(f"  {bar.text}")


def _in_own_process(running: Process, setting: Setting, seconds: float) -> str:
    """Empty where it wrote its record; else why it did not, its last words at the end, and what was there stays."""
    record = setting.folder / f"{running.step.key}.json"
    before = record.read_bytes() if record.is_file() else b""
    stopped = running.finish(seconds)
    said = running.log.read_text(errors="replace").strip()[-2000:]
    if found(running.step, setting).state == DONE and record.read_bytes() != before:  # it says when it was made
        running.log.unlink()
        return ""
    return "\n".join(filter(None, [said, stopped])) or f"ended with {running.process.returncode} and said nothing"


def child(key: str, device: str, tiny: str, folder: str, data: str) -> None:
    """One step, here; its record is written, or the error printed."""
    setting, began = Setting(device, tiny == "1", Path(folder), data), time.monotonic()

    def write_down(answer: Answer, state: str) -> None:
        bars = [{**asdict(bar), "met": bar.met, "text": bar.text()} for bar in answer.bars]
        so_far = {} if state == DONE else {"so_far": answer.says}
        _keep(
            step, setting, state, time.monotonic() - began, says=answer.says, **so_far, bars=bars,
            result=answer.result, device=_name(device),
        )  # fmt: skip

    def keep(answer: Answer) -> None:
        if found(step, setting).state != DONE:  # a repeat replaces a record when it is whole
            write_down(answer, STOPPED)

    with _leaving():
        [step] = chosen([key])
        write_down(step.run(replace(setting, keep=keep)), DONE)


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
    _write(step, setting, record)


def _cut_short(step: Step, setting: Setting, state: str, seconds: float, outcome: str) -> None:
    """The record of a step that did not come to its end; what it had found stays, as of when and where it was found."""
    says, so_far = outcome.split("\n")[-1], found(step, setting).so_far
    if not so_far:
        return _keep(step, setting, state, seconds, says=says, said=outcome)
    record = json.loads((setting.folder / f"{step.key}.json").read_bytes())
    ended = {"state": state, "seconds": round(seconds, 1), "says": f"{so_far}; then {says}", "said": outcome}
    _write(step, setting, record | ended)


def _write(step: Step, setting: Setting, record: dict[str, Any]) -> None:
    write(setting.folder / f"{step.key}.json", json.dumps(record, indent=1, default=str) + "\n")


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
