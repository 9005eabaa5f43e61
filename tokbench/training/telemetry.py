"""How fast a run is: steps and images per second, waiting for data, model-FLOP utilisation, peak memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from tokbench.config.training import TrainingConfig
from tokbench.memory import peak_bytes, peak_measured, reset_peak
from tokbench.training.flops import StepFlops
from tokbench.training.peak_flops import peak_flops


class Telemetry:
    """Times the steps of one process: waiting for the batch and the step itself, not images and checkpoints.

    The first steps of a process (with the counting of FLOPs, the choice of kernels, compilation) are not counted.
    FLOPs are of one process's share of a step, so that utilisation is of one device.
    """

    def __init__(self, accelerator: Accelerator, training: TrainingConfig) -> None:
        self.accelerator, self.training = accelerator, training
        device = accelerator.device
        self.cuda = device.type == "cuda"
        self.precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        self.device = torch.cuda.get_device_name(device) if self.cuda else f"CPU {platform.machine()}"
        tf32 = torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
        self.peak = peak_flops(self.device, self.precision, tf32) if self.cuda else None
        reset_peak(device)
        self.flops: int | None = None  # of the kind of step that runs now
        self._kind: frozenset[str] | None = None
        self._next_kind: frozenset[str] | None = None
        self._count, self._warm_up = True, 3 if training.compile else 1
        self._peak = 0
        self._spent = 0  # FLOPs of all steps, those that are not timed among them
        self._began = self._fetched = 0.0
        self._steps = self._all_steps = 0
        self._busy = self._all_busy = self._waited = self._all_waited = self._work = self._all_work = 0.0

    # One step: begin(), fetched(), then the step within counting(), done() --------------------------------------

    def begin(self) -> None:
        self._began = time.perf_counter()

    def fetched(self) -> None:
        """The batch is there."""
        self._fetched = time.perf_counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the FLOPs of the step inside, where it is a kind of step that has not been counted."""
        if not self._count:
            yield
            return
        # Operator by operator: while a dispatch mode looks on torch leaves its graphs aside, and torch 2.11 for good.
        eager = torch.compiler.set_stance("force_eager") if self.training.compile else nullcontext()
        with eager, StepFlops(self.training.activation_checkpointing) as counter:
            yield
        self.flops, self._count = counter.total, False
        self._warm_up = max(self._warm_up, 1)  # a counted step is a slow one

    def done(self, values: Mapping[str, Any]) -> None:
        """The step is over; the names of its values tell what kind it was (with a discriminator or without)."""
        kind, before = frozenset(values), self._next_kind
        self._next_kind = kind
        if self._kind is None:
            self._kind = kind
        elif kind != self._kind and kind == before:  # a lasting change, not one step with a penalty
            self._kind, self._count = kind, True
        self._spent += self.flops or 0
        if self._warm_up:
            self._warm_up -= 1
            return
        seconds, waited = time.perf_counter() - self._began, self._fetched - self._began
        self._steps, self._busy, self._waited = self._steps + 1, self._busy + seconds, self._waited + waited
        self._work += self.flops or 0

    # What is logged ----------------------------------------------------------------------------------------------

    def window(self) -> dict[str, float]:
        """Figures of the steps since the last call; empty where none was counted."""
        if not self._steps:
            return self._memory()
        found = self._figures(self._steps, self._busy, self._waited, self._work)
        self._all_steps, self._all_busy = self._all_steps + self._steps, self._all_busy + self._busy
        self._all_waited, self._all_work = self._all_waited + self._waited, self._all_work + self._work
        self._steps, self._busy, self._waited, self._work = 0, 0.0, 0.0, 0.0
        return found | self._memory()

    def _figures(self, steps: int, busy: float, waited: float, work: float) -> dict[str, float]:
        rate = steps / busy
        found = {
            "steps_per_second": rate,
            "images_per_second": rate * self.training.batch_size,
            "waiting_for_data": waited / busy,
            "flops_per_second": work / busy,
        }
        return found | ({"mfu": work / busy / self.peak} if self.peak else {})

    def _memory(self) -> dict[str, float]:
        return {"peak_memory_bytes": float(self.peak_memory())}

    def shown(self, figures: Mapping[str, float]) -> dict[str, float | str]:
        """For the progress line; FLOP/s and utilisation only where the device's peak is known."""
        if "steps_per_second" not in figures:
            return {}
        found: dict[str, float | str] = {"step/s": figures["steps_per_second"], "img/s": figures["images_per_second"]}
        if "mfu" in figures:
            found |= {"TFLOP/s": figures["flops_per_second"] / 1e12, "MFU": f"{figures['mfu']:.1%}"}
        return found | {"GiB": figures["peak_memory_bytes"] / 2**30}

    def summary(self) -> dict[str, Any]:
        """Figures of the whole run, resumed ones included; memory is the most any process needed. Collective."""
        self.window()
        most = max(gather_object([self.peak_memory()]))
        figures: dict[str, Any] = {"steps_per_second": None, "images_per_second": None, "flops_per_second": None}
        if self._all_steps:
            figures = self._figures(self._all_steps, self._all_busy, self._all_waited, self._all_work)
        return {
            "steps_timed": self._all_steps,
            **figures,
            "mfu": figures.get("mfu"),
            "flops_per_step": self.flops,
            "flops": self._spent * self.accelerator.num_processes,
            "peak_flops": self.peak,
            "peak_memory_bytes": most,
            "memory_measured": peak_measured(self.accelerator.device),
            "device": self.device,
            "processes": self.accelerator.num_processes,
            "precision": self.precision,
        }

    def peak_memory(self) -> int:
        """Bytes since training began."""
        self._peak = max(self._peak, peak_bytes(self.accelerator.device))  # a measurement in between begins anew
        return self._peak

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self._all_steps + self._steps,
            "busy": self._all_busy + self._busy,
            "waited": self._all_waited + self._waited,
            "work": self._all_work + self._work,
            "processes": self.accelerator.num_processes,
            "flops": self.flops,
            "spent": self._spent,
            "count": self._count,
            "kind": sorted(self._kind or ()),
            "next_kind": sorted(self._next_kind or ()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._all_steps = int(state["steps"])
        self._spent = state.get("spent", state["work"])  # an earlier version counted the timed steps alone
        self._all_busy, self._all_waited, self._all_work = state["busy"], state["waited"], state["work"]
        if state.get("processes") == self.accelerator.num_processes:
            # Counted steps run without compilation, so a resumed run must count at the same steps to be the same run.
            self.flops, self._count = state["flops"], state["count"]
            self._kind, self._next_kind = frozenset(state["kind"]) or None, frozenset(state["next_kind"]) or None
