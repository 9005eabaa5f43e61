"""A sweep as a file: the options of ``tokbench sweep`` as YAML keys, checked. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError

from tokbench.config.base import Strict
from tokbench.config.explain import explain
from tokbench.config.lists import Axes, Numbers, Settings, Words
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError, did_you_mean


class SweepSettings(Strict):
    """What to sweep over and how to run it. Every list of the first block is an axis of the grid."""

    quantizer: Words = []
    codebook_size: Numbers = []
    depth: Numbers = []
    bits: Numbers = []
    image_size: Numbers = []
    downsampling: Numbers = []
    code_dim: Numbers = []
    seed: Numbers = []
    encoder: Words = Field([], description="model.architecture")
    vary: Axes = Field([], description="any recipe key: a list of values")

    recipe: str = "demo"
    set: Settings = Field([], description="recipe keys of every cell")

    generator: Words = []
    generator_recipe: Words = Field([], description="NAME ({generator} stands for the kind) or KIND=NAME")
    set_generator: Settings = Field([], description="keys of the generators' recipes; KIND:KEY for one kind")
    encode_passes: PositiveInt = Field(1, description="over the training pictures, into the code cache")

    out: str = "results"
    jobs: PositiveInt = Field(1, description="cells side by side")
    gpus_per_cell: PositiveInt = Field(1, description="more than one: each cell under accelerate launch")
    cluster: Literal["slurm", "local"] | None = None
    partition: str | None = None
    time: str | PositiveInt | None = Field(None, description="limit of a cell: minutes, or hours:minutes:seconds")
    cpus_per_cell: PositiveInt | None = None
    memory: str | None = Field(None, description="of a cell, e.g. 32GB")
    slurm: Settings = Field([], description="any other option of sbatch, e.g. account: NAME")


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

        raise TokbenchError(*dict.fromkeys(explain(SweepSettings, error, where))) from None


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
