"""What the generators of a claim are given: codes of what the images are paired with. Its tokenizer is trained first,
because what is conditioned on codes has the hash of their tokenizer's weights in its address."""

from __future__ import annotations

import json
from pathlib import Path

from tokbench.claims.definition import ScaleSettings
from tokbench.config.condition import partner_of
from tokbench.config.yaml_files import parse_value
from tokbench.errors import TokbenchError
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.stages import model_folder

PART = "condition"
"""The part of a claim that is this tokenizer."""

_SOURCE = "data.source="


def condition_plan(settings: ScaleSettings, work: Path, data: str | None, cpu: bool = False) -> Plan | None:
    """The one cell of the condition's tokenizer, to be trained anew where only its record is left; None without one.
    It is of seed 0, whatever the seeds of what is conditioned on it.

    Raises:
        TokbenchError: ``data`` without pairs of two folders, or a recipe of several tokenizers.
    """
    sweep = settings.condition
    if sweep is None:
        return None
    more = [f"{_SOURCE}{_other_half(data)}"] if data is not None else []
    plan = Plan.make(sweep.model_copy(update={"out": str(work), "set": [*sweep.set, *more], "seed": [0]}), cpu=cpu)
    if len(plan.cells) != 1:
        raise TokbenchError(f"condition: is one tokenizer, and these are {len(plan.cells)}: leave out its axes")
    (cell,) = plan.tokenizers
    if cell.key in plan.done and model_folder(cell, work) is None:
        plan.done, plan.redone = set(), {cell.key}
    return plan


def _other_half(data: str) -> str:
    images, partner, other = partner_of(data)
    if partner is None or not images.startswith("folder:"):
        raise TokbenchError(f"--data {data}: the claim needs pairs in folders: folder:IMAGES,masks=MAPS")
    return f"folder:{other}"


def given(sweep: SweepSettings, condition: Plan | None, work: Path, costing: bool) -> SweepSettings:
    """The sweep with the condition's tokenizer in its generators' recipes. ``costing``: without the condition, which
    what is counted leaves out, where that is not trained yet.

    Raises:
        TokbenchError: it is not trained yet.
    """
    if condition is None:
        return sweep
    folder = model_folder(condition.tokenizers[0], work)
    if folder is not None:
        named = f"condition.tokenizer={json.dumps(str(folder))}"  # a path may look like other YAML
        return sweep.model_copy(update={"set_generator": [*sweep.set_generator, named]})
    if not costing:
        raise TokbenchError("the tokenizer of its condition is not trained yet")
    sources = [parse_value(text.removeprefix(_SOURCE)) for text in sweep.set if text.startswith(_SOURCE)]
    alone = [f"{_SOURCE}{partner_of(str(source))[0]}" for source in sources[-1:]]
    return sweep.model_copy(update={"set": [*sweep.set, *alone]})
