"""A few steps under torch's profiler: a trace to look at in a browser, and where the time went."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from tokbench.results.files import written

WARM_UP, STEPS, ROWS = 5, 3, 10  # steps before, steps recorded, operators shown


class StepProfiler:
    """Call ``before`` and ``after`` around every step; records steps 6 to 8 of this process, or the last ones."""

    def __init__(self, folder: Path, remaining: int, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self._steps = min(STEPS, remaining)
        self._wait = min(WARM_UP, remaining - self._steps)
        self._done = 0
        self._profiler: profile | None = None

    def before(self) -> None:
        if self._done == self._wait and self._steps > 0:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or a machine without a GPU is told so in capitals
            activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
            self._profiler = profile(activities=activities)
            self._profiler.start()

    def after(self, step: int) -> None:
        """``step`` steps of the run are done."""
        self._done += 1
        if self._profiler is not None and self._done == self._wait + self._steps:
            self.stop(step)

    def stop(self, step: int) -> None:
        """Write what was recorded, if anything is being recorded: also where a run ends early."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        profiler.stop()
        trace = self.folder / f"step-{step:08d}.json"
        with written(trace) as draft:
            profiler.export_chrome_trace(str(draft))
        for line in [*_table(profiler), f"trace (chrome://tracing or ui.perfetto.dev): {trace}"]:
            self.say(line)


def _table(profiler: profile) -> list[str]:
    """The operators with the most time of their own, on the GPU where there is one."""
    events = profiler.key_averages()
    on_gpu = any(event.self_device_time_total for event in events)
    times = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total, e.count) for e in events}
    total = sum(time for time, _ in times.values()) or 1.0
    top = sorted(times.items(), key=lambda item: -item[1][0])[:ROWS]
    width = min(48, max((len(name) for name, _ in top), default=8))
    lines = [f"{'operator':<{width}}  {'GPU ms' if on_gpu else 'CPU ms':>9}  {'share':>6}  {'calls':>6}"]
    for name, (time, count) in top:
        lines.append(f"{name[:width]:<{width}}  {time / 1e3:9.2f}  {time / total:6.1%}  {count:6d}")
    return lines
