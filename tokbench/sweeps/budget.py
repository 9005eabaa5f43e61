"""``--budget``: so many images, FLOPs or seconds for every tokenizer, which decide the steps of each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from pydantic import ValidationError

from tokbench.config.address import experiment_settings
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError, counted, did_you_mean
from tokbench.results.environment import content_hash, describe
from tokbench.results.files import write
from tokbench.training.flops import train_step_flops

Unit = Literal["images", "flops", "seconds"]
_WARM_UP, _TIMED = 4, 16  # steps of the moment for which a cell is timed


@dataclass(frozen=True)
class Budget:
    """So much of a unit for every tokenizer. Seconds are of this machine, with ``cpu`` without its GPUs: ``out`` keeps
    how long steps took here, so that the same command means the same cells."""

    unit: Unit
    amount: float
    out: Path
    cpu: bool = False

    @classmethod
    def of(cls, text: str, out: Path, cpu: bool = False) -> Budget:
        """``images=100000``, ``flops=1e15`` or ``seconds=600``. Raises TokbenchError for anything else."""
        unit, _, number = text.partition("=")
        if unit not in get_args(Unit):
            raise TokbenchError(f"--budget {text}: expected images=N, flops=N or seconds=N{_meant(unit)}")
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        if not 0 < amount < 1e30:
            raise TokbenchError(f"--budget {text}: {number!r} is not a number above 0, such as {unit}=1e6")
        return cls(unit, amount, out, cpu)  # type: ignore[arg-type]

    def of_steps(self, recipe: TokenizerRecipe) -> TokenizerRecipe:
        """The recipe with as many steps as the budget pays for, rounded. Raises TokbenchError below one step."""
        step = self._step(recipe)
        steps = round(self.amount / step)
        message = f"--budget {self.unit}={self.amount:g} pays for {counted(steps, 'step')} of {step:.4g} {self.unit}"
        if steps < 1:
            raise TokbenchError(message)
        plain = recipe.resolved()
        try:
            return TokenizerRecipe.model_validate({**plain, "training": {**plain["training"], "steps": steps}})
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise TokbenchError(f"{message}: {why}") from None

    def _step(self, recipe: TokenizerRecipe) -> float:
        """What one step costs."""
        batch = recipe.training.batch_size
        if self.unit == "images":
            return float(batch)
        return train_step_flops(recipe) * batch if self.unit == "flops" else self._seconds(recipe)

    def _seconds(self, recipe: TokenizerRecipe) -> float:
        known_at = self.out / "step-seconds.json"
        settings = experiment_settings(recipe)
        settings["training"] = {k: v for k, v in settings.get("training", {}).items() if k != "steps"}
        here = describe()
        machine = {"cpu": here["cpu"], "cores": here["cores"], "gpus": [] if self.cpu else here["gpus"]}
        key = content_hash({"recipe": settings, "machine": machine})
        known = _read(known_at)
        if key not in known:
            known[key] = timed(recipe, self.cpu)
            write(known_at, json.dumps(known, indent=2) + "\n")
        return float(known[key])


def timed(recipe: TokenizerRecipe, cpu: bool = False) -> float:
    """Seconds a step, of a few that are thrown away; ``cpu`` stays on the CPU where there is a GPU."""
    from tokbench.training.loop import make_accelerator, train

    at: dict[int, float] = {}
    short = recipe.training.model_copy(
        update={"steps": max(recipe.training.steps, _TIMED), "picture_every": 0, "checkpoint_every": 0, "trackers": []}
    )
    with TemporaryDirectory() as folder:
        train(
            recipe.model_copy(update={"training": short}),
            Path(folder) / "run",
            accelerator=make_accelerator(recipe, cpu),
            quiet=True,
            stop_at=_TIMED,
            look=lambda step, task: at.__setitem__(step, time.perf_counter()),
        )
    return (at[_TIMED] - at[_WARM_UP]) / (_TIMED - _WARM_UP)


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
        return {key: value for key, value in known.items() if isinstance(value, float) and value > 0}
    except (OSError, ValueError, AttributeError):
        return {}


def _meant(unit: str) -> str:
    hint = did_you_mean(unit, get_args(Unit))
    return hint if "did you mean" in hint else ""
