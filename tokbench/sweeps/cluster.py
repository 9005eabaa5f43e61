"""Cells as jobs of a cluster, by way of submitit: a SLURM array, or its local executor."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tokbench.config.yaml_files import parse_value
from tokbench.errors import TokbenchError
from tokbench.results.store import Store
from tokbench.sweeps.cell import Cell, Outcome, failure, folder_of, stage_of, write_job_spec
from tokbench.sweeps.chain import Chain
from tokbench.sweeps.jobs import NewRecords, slots, visible_gpus
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.progress import Progress
from tokbench.sweeps.settings import SweepSettings

_DAY = 24 * 60


def run_cluster(plan: Plan, out: Path, progress: Progress, settings: SweepSettings, *, again: bool, cpu: bool) -> int:
    """Submit what is not done, one job a tokenizer, and wait for it; how many cells failed.

    Ctrl-C ends local jobs; SLURM's go on.

    Raises TokbenchError when submitit is missing, or there is no SLURM here.
    """
    local = settings.cluster == "local"
    places = slots(settings.jobs, settings.gpus_per_cell, cpu) if local else [{}]
    executor = make_executor(out, settings, cpu)
    chains = _chains(plan, out.resolve(), settings, again, cpu)
    cells = {cell.key: cell for cell in plan.cells}
    for chain in chains:
        for key in chain.keys:
            write_job_spec(cells[key], out)
    new_records, watched = NewRecords(Store(out / "runs.jsonl")), _Watch(cells, out, progress)
    live: dict[int, tuple[Any, Chain]] = {}
    if not local:
        with executor.batch():
            submitted = [executor.submit(chain) for chain in chains]
        live = dict(enumerate(zip(submitted, chains, strict=True)))
        progress.say(f"submitted as {', '.join(dict.fromkeys(str(job.job_id).partition('_')[0] for job in submitted))}")
        chains = []
    try:
        while chains or live:
            while chains and local and len(live) < settings.jobs:
                slot = min(set(range(settings.jobs)) - set(live))
                chain = chains.pop(0)
                chain.place = places[slot]
                live[slot] = executor.submit(chain), chain
            for slot, (job, chain) in list(live.items()):
                ended = job.done()
                watched.look(chain, new_records, job if ended else None)
                if ended:
                    del live[slot]
            time.sleep(0.2 if local else 5)
    except KeyboardInterrupt:
        for job, _ in live.values():
            if local:
                job.cancel(check=False)
        if not local:
            progress.say("the submitted jobs continue; when they have ended, the same command shows the table")
        raise
    return len(watched.failed)


def make_executor(out: Path, settings: SweepSettings, cpu: bool) -> Any:
    """submitit's executor with what was asked for. Raises TokbenchError when it is not to be had."""
    try:
        import submitit
    except ImportError:
        raise TokbenchError("--cluster needs submitit: pip install 'tokbench[cluster]'") from None
    gpus = 0 if cpu or (settings.cluster == "local" and not visible_gpus()) else settings.gpus_per_cell
    asked: dict[str, Any] = {
        "name": "tokbench-sweep",
        "timeout_min": minutes(settings.time),
        "nodes": 1,
        "tasks_per_node": 1,
        "gpus_per_node": gpus,
    }
    if settings.cluster == "slurm":
        if settings.cpus_per_cell:
            asked["cpus_per_task"] = settings.cpus_per_cell
        if settings.memory:
            asked["slurm_mem"] = settings.memory
        if settings.partition:
            asked["slurm_partition"] = settings.partition
        if settings.jobs > 1:
            asked["slurm_array_parallelism"] = settings.jobs
        asked["slurm_additional_parameters"] = _options(settings.slurm)
    try:
        executor = submitit.AutoExecutor(folder=out / "cluster", cluster=settings.cluster)
        executor.update_parameters(**asked)
    except RuntimeError as error:
        raise TokbenchError(f"--cluster {settings.cluster}: {error}") from None
    return executor


def minutes(time_limit: str | int | None) -> int:
    """``90``, ``1:30:00`` or ``1-00:00:00`` in minutes, rounded up; a day where nothing is given."""
    if time_limit is None:
        return _DAY
    text = str(time_limit)
    if text.isdigit() and int(text):
        return int(text)
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?", text)
    if match is None:
        raise TokbenchError(f"--time {text}: expected minutes, hours:minutes, hours:minutes:seconds or days-hours:...")
    days, hours, mins, seconds = (int(part or 0) for part in match.groups())
    return max(1, days * _DAY + hours * 60 + mins + (seconds > 0))


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise TokbenchError(f"--slurm {text}: expected KEY=VALUE, e.g. account=vision")
        options[key.strip().lstrip("-").replace("-", "_")] = parse_value(value)
    return options


def _chains(plan: Plan, out: Path, settings: SweepSettings, again: bool, cpu: bool) -> list[Chain]:
    chains = []
    for tokenizer in plan.tokenizers:
        cells: list[Cell] = [tokenizer, *(g for g in plan.generators if g.tokenizer.key == tokenizer.key)]
        keys = [cell.key for cell in cells if cell.key not in plan.done]
        if keys:
            first = tokenizer.key if tokenizer.key in keys else None
            chains.append(Chain(out, keys, first, plan.redone & set(keys), again, cpu, settings.gpus_per_cell))
    return chains


class _Watch:
    """Tells the progress what happens to cells that run elsewhere, from what they leave."""

    def __init__(self, cells: dict[str, Cell], out: Path, progress: Progress) -> None:
        self.cells, self.out, self.progress = cells, out, progress
        self.began: set[str] = set()
        self.ended: set[str] = set()
        self.failed: set[str] = set()
        self.stages = {key: self._stages(key) for key in cells}

    def _stages(self, key: str) -> int:
        path = folder_of(self.cells[key], self.out) / "stages.jsonl"
        return path.stat().st_size if path.exists() else 0

    def look(self, chain: Chain, new_records: NewRecords, ended_job: Any) -> None:
        """``ended_job``: the chain's job, once it has ended."""
        for key in chain.keys:
            cell = self.cells[key]
            if key in self.ended:
                continue
            if key not in self.began and stage_of(folder_of(cell, self.out)) and self._stages(key) != self.stages[key]:
                self.began.add(key)
                self.progress.start(cell)
            record = new_records.find(key)
            if record is None and ended_job is not None:
                if chain.tokenizer in self.failed and key != chain.tokenizer:
                    self.ended.add(key)
                    self.failed.add(key)
                    self.progress.end(cell, "not run", "its tokenizer failed")
                    continue
                if new_records.store.find(key) and key not in chain.redone and not chain.again:
                    self.ended.add(key)
                    self.progress.end(cell, "already", "finished by another process")
                    continue
                log = ended_job.paths.stderr.name
                record = failure(cell, f"its job ended as {ended_job.state} without a record; see cluster/{log}")
                new_records.store.append(record)
            if record is not None:
                self.ended.add(key)
                if (outcome := Outcome.of(record)) is Outcome.failed:
                    self.failed.add(key)
                self.progress.end(cell, outcome.value, record.error or "")
