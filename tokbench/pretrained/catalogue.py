"""The published tokenizers by name: what each is, where its weights lie and what its authors measured.

One YAML file of ``published/`` a family: what its models have ``common``, and ``models`` by name. What nobody could
look up stands in an entry's ``unverified``; nothing is guessed.
"""

from __future__ import annotations

import difflib
import functools
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from tokbench.config.base import Strict
from tokbench.config.grid import Size
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results import published
from tokbench.results.record import Record

Unverified = Literal["hub", "revision", "weights", "config", "licence", "sha256", "megabytes", "size"]


class Row(Strict):
    """Which row of ``results/published*.csv`` is this model's: a system's name alone is not always enough."""

    system: str
    codebook: PositiveInt | None = None


class Entry(Strict):
    """A published tokenizer."""

    name: str
    title: str = Field(description="what its authors call it")
    paper: str
    source: str = Field(description="where these facts were read")
    hub: str | None = Field(None, description="owner/repository of the Hugging Face hub; empty: it lies elsewhere")
    revision: str = Field("main", description="of the repository: a branch, a tag or a commit")
    weights: str | None = Field(None, description="the file, within the repository")
    config: str | None = Field(None, description="its configuration's, likewise")
    beside: str | None = Field(None, description="a second file of the weights, in the same folder")
    url: str | None = Field(None, description="where a person fetches it, if not from the hub")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the weights' file")
    importer: str
    settings: dict[str, Any] = Field({}, description="instead of a configuration: what the weights do not show")
    use: Annotated[Literal["auto", "live", "ema"], Field(description="which weights of the file")] = "auto"
    licence: str | None = None
    size: Size = Field(description="of the images or clips it was trained on")
    tokens: PositiveInt = Field(description="positions of such an image")
    bits: PositiveFloat = Field(description="of a position, all its codes together")
    megabytes: PositiveInt | None = Field(None, description="of the file")
    row: Row | None = None
    unverified: tuple[Unverified, ...] = ()

    @property
    def bits_per_image(self) -> float:
        return self.tokens * self.bits

    @property
    def page(self) -> str:
        """Where a person finds the weights."""
        return f"https://huggingface.co/{self.hub}" if self.hub else self.url or self.source

    @property
    def files(self) -> list[str]:
        """What is fetched."""
        return [name for name in (self.weights, self.config, self.beside) if name]

    def measured_by_authors(self) -> Record | None:
        """Its published row, as a record."""
        if self.row is None:
            return None
        for record in published.load():
            if record.name == self.row.system and self.row.codebook in (None, record.quantizer.codebook_size):
                return record
        raise ValueError(f"{self.name}: no published row {self.row}")


@functools.cache
def entries() -> dict[str, Entry]:
    """Every entry by its name, in the order of the files and of the models in them."""
    found: dict[str, Entry] = {}
    folder = resources.files("tokbench.pretrained").joinpath("published")
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        family = yaml.safe_load(file.read_text(encoding="utf-8"))
        for name, own in family["models"].items():
            try:
                entry = Entry.model_validate({"name": name, **family["common"], **own})
            except ValidationError as error:
                raise ValueError(f"{file.name}: {name}: {error}") from None
            if found.setdefault(name, entry) is not entry:
                raise ValueError(f"{file.name}: {name} is in two files")
    return found


def find(name: str) -> Entry | None:
    """The entry of that name, in any case and with underscores for hyphens; None where there is none."""
    return entries().get(name.lower().replace("_", "-"))


def get(name: str) -> Entry:
    """As ``find``; TokbenchError, which says what was meant, where there is none."""
    if (entry := find(name)) is None:
        raise TokbenchError(f"unknown published model {name!r}{did_you_mean(name, entries())} (`tokbench models`)")
    return entry


def near(name: str) -> str | None:
    """The names that begin with ``name``, or the one that it may be a slip of; None where there are none."""
    asked = name.lower().replace("_", "-")[:64]
    begun = [known for known in entries() if len(asked) > 2 and known.startswith(asked)]
    names = begun or difflib.get_close_matches(asked, entries(), n=1, cutoff=0.75)
    return ", ".join(map(repr, names[:6])) or None
