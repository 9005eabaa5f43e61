"""Which models are looked at: tokenizers, and generators with the tokenizers of their codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokbench.config.generator import GeneratorConfig
from tokbench.config.grid import axes, plain
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.generators.pipeline import Pipeline
from tokbench.models import Tokenizer
from tokbench.models.folder import find_folder, holds
from tokbench.pictures import save_picture, to_pil
from tokbench.results.entries import gather
from tokbench.results.store import Store, records_file

MOST = 4
"""Tokenizers of the records that are shown where nobody says which."""


@dataclass(frozen=True)
class Opened:
    """Models by what heads them on the page, in evaluation mode on one device."""

    tokenizers: dict[str, Tokenizer]
    generators: dict[str, Pipeline]


def opened(sources: Mapping[str, str], device: str = "cpu", tokenizer: str | None = None) -> Opened:
    """Read models, each a folder, a published model's name or a repository of the hub.

    A generator brings its tokenizer, unless that is among the others. ``tokenizer``: where that of generators lies now.

    Raises:
        TokbenchError: one of them is not there, or neither a tokenizer nor a generator.
    """
    tokenizers: dict[str, Tokenizer] = {}
    generators: dict[str, Pipeline] = {}
    for label, source in sources.items():
        folder = find_folder(source)
        if holds(folder, GeneratorConfig):
            generators[label] = Pipeline.load(folder, tokenizer, device=device)
        else:
            tokenizers[label] = Tokenizer.from_pretrained(folder).to(device)
    known = {model.sha256() for model in tokenizers.values()}
    for label, pair in generators.items():
        if (own := pair.tokenizer.sha256()) not in known:
            tokenizers[f"tokenizer of {label}"] = pair.tokenizer
            known.add(own)
    return Opened(tokenizers, generators)


def named(models: Sequence[str], results: Path) -> dict[str, str]:
    """What was typed, by what heads it; where nothing was, the newest tokenizers of the records that are still there.

    Raises:
        TokbenchError: nothing was typed, and no tokenizer is there.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(models):
        short = name.rstrip("/").removesuffix("/tokenizer")
        found[name if short in found else short] = name
    if found:
        return found
    file = records_file(results)
    for entry in reversed(gather(Store(file).read()).entries):
        folder = file.parent / entry.first.artifacts.get("tokenizer", "")
        if "tokenizer" in entry.first.artifacts and folder.is_dir() and len(found) < MOST:
            name = entry.label if entry.label not in found else f"{entry.label} {entry.first.id}"
            found[name] = str(folder)
    if not found:
        raise TokbenchError(
            f"{file}: names no tokenizer that is there; say which: tokbench explore MODEL ..., a folder or one of "
            "`tokbench models`"
        )
    return dict(reversed(found.items()))


def an_example(models: Opened, folder: Path) -> Path | None:
    """A held-out photograph of tokbench's own, written into ``folder`` at the first tokenizer's size; None where that
    one takes something else."""
    config = next(iter(models.tokenizers.values())).config
    size = axes(config.image_size)[-2:]
    if config.kind != "image":
        return None
    image = open_images("photos", "eval", image_size=plain(size))[0]["image"]
    return save_picture(to_pil(image), folder / "a-photograph.png")
