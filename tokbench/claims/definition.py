"""A claim as a file of ``recipes/claims``: the question, what the paper says, what to run. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from tokbench.bench.sampling_cells import SamplingBench
from tokbench.config.base import Strict
from tokbench.config.explain import explain
from tokbench.config.grid import Size
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.sweeps.settings import SweepSettings

ScaleName = Literal["cpu", "gpu", "paper"]
SCALES: tuple[ScaleName, ...] = ("cpu", "gpu", "paper")

# The command says these for all sweeps of a claim at once.
_GIVEN = frozenset(SweepSettings.model_fields) & {
    "seed", "out", "jobs", "gpus_per_cell", "cluster", "partition", "time", "cpus_per_cell", "memory", "slurm",
}  # fmt: skip


def _many(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _on(every: dict[str, Any], sweep: Any) -> Any:
    """A sweep with what it leaves out; where both have a mapping (``set``, ``set_generator``), it gets both."""
    if not isinstance(sweep, dict):
        return sweep
    mappings = [key for key in every if isinstance(every[key], dict) and key in sweep]
    if wrong := [key for key in mappings if not isinstance(sweep[key], dict)]:
        key = wrong[0]
        raise ValueError(f"every.{key} is a mapping, so each sweep's {key} must be one too, not {sweep[key]!r}")
    return {**every, **sweep, **{key: {**every[key], **sweep[key]} for key in mappings}}


class PaperFigure(Strict):
    """A number the paper gives, and where it stands."""

    what: str
    value: str
    source: str = Field(description="paper, and table, figure or section")
    provenance: Literal["read", "second-hand", "unverified"] = Field(
        "read", description="whether the source itself was looked at, somebody citing it, or neither"
    )


class Elsewhere(Strict):
    """Tokenizers of another part of the claim on other images than their recipes' (``claims.follow_ups``)."""

    of: str = Field(description="a part with sweeps: its tokenizers")
    data: str | None = Field(None, description="of which the held-out split is taken; empty: the tokenizers' own")
    image_size: Size
    metrics: list[str]
    limit: PositiveInt | None = Field(None, description="at most so many images, spread evenly")


class Probed(Strict):
    """Linear probes (``tokbench probe``) of the tokenizers of other parts, or of ARs on their codes, by the classes
    of the images they are trained on."""

    of: list[str] = Field([], description="parts with sweeps; empty: all of them")
    reads: Literal["linear", "ar"] = "linear"
    steps: PositiveInt = 2000
    batch_size: PositiveInt = 64
    limit: PositiveInt | None = Field(None, description="at most so many training images")
    eval_limit: PositiveInt | None = Field(None, description="at most so many held out")


class ScaleSettings(Strict):
    """What runs at one scale. A part is a name the check asks for, and one sweep or a list of them."""

    every: dict[str, Any] = Field(
        {}, description="what each of the sweeps says too; its own keys win, mappings are put together"
    )
    sweeps: dict[str, Annotated[list[SweepSettings], BeforeValidator(_many)]] = {}
    condition: SweepSettings | None = Field(
        None,
        description="the tokenizer whose codes all generators are given: of what the images are paired with, with the "
        "options of tokbench sweep; it is trained first and is the part `condition`",
    )
    bench: dict[str, SamplingBench] = Field({}, description="part: options of tokbench bench sampling")
    elsewhere: dict[str, Elsewhere] = Field({}, description="part: tokenizers of another part on other images")
    probes: dict[str, Probed] = Field({}, description="part: linear probes of what other parts train")
    limits: str = Field("", description="what this scale cannot say")

    @model_validator(mode="before")
    @classmethod
    def _with_every(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(every := values.get("every"), dict):
            return values
        sweeps = values.get("sweeps")
        if not isinstance(sweeps, dict):
            raise ValueError("every: is said in each of the sweeps, and there are none")
        own = {part: [_on(every, sweep) for sweep in _many(of_part)] for part, of_part in sweeps.items()}
        return {**values, "sweeps": own}

    @model_validator(mode="after")
    def _parts_are_different(self) -> ScaleSettings:
        names = [*self.sweeps, *self.bench, *self.elsewhere, *self.probes, *(["condition"] if self.condition else [])]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"{twice}: two parts have this name; sweeps, bench, elsewhere, probes and condition share names"
            )
        return self

    @model_validator(mode="after")
    def _given_by_the_command(self) -> ScaleSettings:
        for part, found in {**self.sweeps, "condition": [self.condition] if self.condition else []}.items():
            for key in sorted(_GIVEN & {key for sweep in found for key in sweep.model_fields_set}):
                raise ValueError(f"{part}: {key} is the command's to say, for all sweeps of a claim")
        return self


class Claim(Strict):
    """One claim. ``name`` is the file's."""

    name: str
    order: int = Field(description="its place in lists")
    title: str
    question: str
    says: str = Field(description="what the paper states, in our words")
    figures: list[PaperFigure] = []
    scales: dict[ScaleName, ScaleSettings]
    limits: str = Field("", description="what no scale of this recipe set can say")

    @model_validator(mode="before")
    @classmethod
    def _at_every_scale(cls, values: Any) -> Any:
        """``sweeps`` beside the scales are those of every scale that has none of its own."""
        if not isinstance(values, dict) or "sweeps" not in values or not isinstance(values.get("scales"), dict):
            return values
        shared = values["sweeps"]
        if not isinstance(shared, dict) or not shared:
            raise ValueError("sweeps: parts, each one sweep or a list of them")
        scales = {
            name: {**scale, "sweeps": shared} if isinstance(scale, dict) and "sweeps" not in scale else scale
            for name, scale in values["scales"].items()
        }
        return {key: value for key, value in values.items() if key != "sweeps"} | {"scales": scales}

    def at(self, scale: ScaleName) -> ScaleSettings:
        """What runs at that scale. Raises TokbenchError where the claim has none."""
        if scale not in self.scales:
            raise TokbenchError(f"claim {self.name} has no scale {scale}{did_you_mean(scale, self.scales)}")
        return self.scales[scale]


def claims() -> dict[str, Path]:
    """The claims that ship with tokbench, by name."""
    home = Path(__file__).parents[1] / "recipes" / "claims"
    home = home if home.is_dir() else Path(__file__).parents[2] / "recipes" / "claims"
    return {path.stem: path for path in sorted(home.glob("*.yaml"))}


def load_claim(name: str) -> Claim:
    """A claim that ships with tokbench by name, or a file.

    Raises TokbenchError: one line a mistake, naming file and key.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = claims()
        if name not in known:
            raise TokbenchError(f"no claim {name!r}{did_you_mean(name, known)}")
        path = known[name]
    try:
        return Claim.model_validate({"name": path.stem, **read_yaml(path)})
    except ValidationError as error:
        lines = explain(Claim, error, lambda key: str(path))
        raise TokbenchError(*dict.fromkeys(lines)) from None


def load_claims() -> list[Claim]:
    """All that ship, in their order."""
    return sorted((load_claim(name) for name in claims()), key=lambda claim: claim.order)
