"""A sweep as a file: the options of ``tokbench sweep`` as YAML keys, checked. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from tokbench.config.base import Strict
from tokbench.config.explain import explain
from tokbench.config.lists import Axes, Numbers, Settings, Sizes, Words
from tokbench.config.yaml_files import parse_value, read_yaml
from tokbench.errors import TokbenchError, did_you_mean


def _option(default: Any, help: str, *, panel: str | None = None, short: str = "", metavar: str | None = None) -> Any:
    """A key of a sweep file, which is an option of ``tokbench sweep`` too."""
    return Field(default, description=help, json_schema_extra={"panel": panel, "short": short, "metavar": metavar})


_grid = partial(_option, [], panel="Grid")
_tuning = partial(_option, panel="Tuning")
_stage2 = partial(_option, panel="Generators")
_where = partial(_option, panel="Where it runs")


Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "hyperband", "none"]
# As typed it is text, whichever it is.
Validation = Annotated[float | str | None, BeforeValidator(lambda v: parse_value(v) if isinstance(v, str) else v)]


class SweepSettings(Strict):
    """What to sweep over and how to run it. Every list of the first block is an axis of the grid; an empty one leaves
    the recipe's own value."""

    quantizer: Words = _grid("tokbench list; e.g. vq,rq,lfq.", short="-q")
    codebook_size: Numbers = _grid("e.g. 256,1024 or 2^14.", short="-k")
    depth: Numbers = _grid("Codes per position, e.g. 1,2,4,8.", short="-d")
    bits: Numbers = _grid(
        "Bits per position of the latent map: every quantizer at the same rate an image, e.g. 8,16; the codes of a "
        "pyramid share them."
    )
    image_bits: Numbers = _grid(
        "Bits an image, e.g. 2048: the same rate across --encoder, --image-size and --downsampling too."
    )
    image_size: Sizes = _grid("In pixels, e.g. 64,128 or 64x96.")
    downsampling: Numbers = _grid("Pixels per side of one code, e.g. 4,8.")
    code_dim: Numbers = _grid("Channels handed to the quantizer.")
    encoder: Words = _grid("Architectures (tokbench list); settings they share stay.")
    seed: Numbers = _grid("e.g. 0,1,2: tables show mean and spread.")
    vary: Axes = _grid("Any recipe key as an axis of the grid.", metavar="KEY=A,B,...")

    recipe: str = _option("demo", "What every cell starts from: name or file; default demo.")
    set: Settings = _option(
        [], "Change a recipe key, or one quantizer's; may be given often.", metavar="[QUANTIZER:]KEY=VALUE"
    )

    budget: str | None = _option(
        None, "The same for every tokenizer, in place of its steps.", metavar="images=N|flops=N|seconds=N"
    )

    tune: PositiveInt | None = _tuning(
        None, "Trials for the open settings of each quantizer (--dry-run shows them); then the best ones are trained."
    )
    validation: Validation = _tuning(
        None, "Images that settings are chosen by: a share of the training images, or a source; default 0.1."
    )
    tune_metric: str = _tuning("psnr", "What is best; default psnr.")
    tune_sampler: Sampler = _tuning("tpe", "Optuna's sampler; default tpe.")
    tune_pruner: Pruner = _tuning("median", "What ends bad trials early; default median.")

    generator: Words = _stage2([], "ar, mlm or both, on every tokenizer.")
    generator_recipe: Words = _stage2(
        [],
        "Its recipe; {generator} stands for the kind. Default generators/demo-{generator}.",
        metavar="[KIND=]NAME",
    )
    set_generator: Settings = _stage2(
        [], "Change a key of the generators' recipe, e.g. training.steps=2000.", metavar="[KIND:]KEY=VALUE"
    )
    encode_passes: PositiveInt = _stage2(1, "Passes over the training images; default 1.")

    out: str = _option("results", "Folder for records, cells and tables; default results.")
    jobs: PositiveInt = _where(1, "Cells side by side, over the visible GPUs.", short="-j")
    gpus_per_cell: PositiveInt = _where(1, "More than one: each cell under accelerate launch.")
    cluster: Literal["slurm", "local"] | None = _where(None, "slurm: an array of jobs; local: submitit's own.")
    partition: str | None = _where(None, "SLURM's.")
    time: str | PositiveInt | None = _where(None, "Limit of a job: minutes or h:mm:ss; default a day.")
    cpus_per_cell: PositiveInt | None = _where(None, "SLURM's cpus-per-task.")
    memory: str | None = _where(None, "SLURM's mem, e.g. 32GB.")
    slurm: Settings = _where([], "Any other option of sbatch.", metavar="KEY=VALUE")

    @model_validator(mode="after")
    def _fits(self) -> SweepSettings:
        given = [key for key in sorted(self.model_fields_set) if key == "validation" or key.startswith("tune_")]
        if given and self.tune is None:
            raise ValueError(f"{given[0]} is of tuning: give tune, how many trials, or leave it out")
        if self.budget and self.budget.startswith("seconds") and (self.jobs > 1 or self.cluster):
            raise ValueError("budget: seconds are of one cell at a time on this machine; use images or flops")
        return self

    @property
    def columns(self) -> list[str]:
        """Of its table, beside the usual ones."""
        return ["compute"] if self.budget is not None else []


def cell_folder(out: Path, key: str) -> Path:
    """Everything a cell leaves but its record."""
    return out / "cells" / key


def _as_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def load_sweep(file: str | None, given: dict[str, Any], option: Callable[[str], str] = _as_option) -> SweepSettings:
    """The sweep of a file (or of one that ships with tokbench, by name), with what was given beside it on top.

    ``option`` is how a key of ``given`` is spelled where it was typed.

    Raises TokbenchError: one line a mistake, naming file (or option), key and what was meant.
    """
    path = find_sweep(file) if file else None
    values = read_yaml(path) if path else {}
    try:
        return SweepSettings.model_validate({**values, **given})
    except ValidationError as error:

        def where(key: str) -> str:
            name = key.partition(".")[0]
            return option(name) if name in given else str(path)

        repeated = {f"{_as_option(name)}: {name}: ": f"{_as_option(name)}: " for name in given}
        # A list may have been typed as one value or as several with commas: its key says more than a place in it.
        lines = [re.sub(r": (\w+)\.\d+: ", r": \1: ", line, count=1) for line in explain(SweepSettings, error, where)]
        for twice, once in repeated.items():  # an option names its key already
            lines = [once + line.removeprefix(twice) if line.startswith(twice) else line for line in lines]
        raise TokbenchError(*dict.fromkeys(lines)) from None


def find_sweep(name: str) -> Path:
    """A file as given, or ``recipes/sweeps/NAME.yaml``."""
    if Path(name).is_file():
        return Path(name)
    home = Path(__file__).parents[1] / "recipes" / "sweeps"
    home = home if home.is_dir() else Path(__file__).parents[2] / "recipes" / "sweeps"
    known = {path.stem: path for path in sorted(home.glob("*.yaml"))}
    key = name.removeprefix("sweeps/").removesuffix(".yaml")
    if key not in known:
        raise TokbenchError(f"{name}: no such sweep file{did_you_mean(key, known)}")
    return known[key]
