"""tokbench import"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="One that `tokbench list importers` shows, such as taming; or auto: by the weights' names and the "
            "configuration."
        ),
    ],
    checkpoint: Annotated[Path, typer.Argument(help="The published file, or folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the tokenizer.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Its YAML or JSON; without it settings are read off the weights.")
    ] = None,
    weights: Annotated[
        Literal["auto", "live", "ema"],
        typer.Option("--weights", help="Which, where there are both; auto: what the official code evaluates."),
    ] = "auto",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="Of a generator: the imported tokenizer whose codes it models; without it the one in its own file.",
        ),
    ] = None,
    text_tokenizer: Annotated[
        str | None,
        typer.Option(
            "--text-tokenizer",
            help="Of a generator given texts: their tokenizer.json, NAME-vocab.json or hub name.",
        ),
    ] = None,
) -> None:
    """Bring a published checkpoint in; the result evaluates, reconstructs and trains on like any tokenizer."""

    from tokbench.errors import size_text
    from tokbench.pretrained import read
    from tokbench.pretrained.importer import of_generators, of_tokenizers
    from tokbench.printing import terminal

    console = terminal()
    with _new_folder(out):
        generators = of_generators().keys() - of_tokenizers().keys()
        if tokenizer is not None or text_tokenizer is not None or source in generators:
            for line in _import_generator(source, checkpoint, config, weights, tokenizer, text_tokenizer, out):
                console.print(line)
            return
        model, report = read(source, checkpoint, config, weights)
        model.save_pretrained(out)
    for line in report.lines():
        console.print(line)
    size, rate = model.config.image_size, model.rate()
    console.print(
        f"{out}: {model.config.model.architecture} {model.config.model.reduction}, {model.config.quantizer.name}, "
        f"{rate['bits_per_image']:g} bits per image of {size_text(size)} ({rate['bits_per_pixel']:.4g} per pixel)",
    )


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """Hold a folder in which nothing is but what a killed process of ours left."""
    from tokbench.errors import TokbenchError
    from tokbench.results.locks import alone

    def refuse() -> None:
        if out.exists() and (not out.is_dir() or any(not p.name.startswith(".tokbench-") for p in out.iterdir())):
            raise TokbenchError(f"--out {out}: already there and not empty; name a new folder")

    refuse()
    with alone(out / ".tokbench-import.lock", f"--out {out}: another process is writing it; name a new folder"):
        refuse()
        yield


def _import_generator(
    source: str,
    checkpoint: Path,
    config: Path | None,
    weights: Literal["auto", "live", "ema"],
    tokenizer: str | None,
    text_tokenizer: str | None,
    out: Path,
) -> list[str]:
    from tokbench.errors import size_text
    from tokbench.generators.building import CONDITION_TOKENIZER, TOKENIZER
    from tokbench.generators.text_given import attach_text_tokenizer
    from tokbench.models import Tokenizer
    from tokbench.pretrained import read_generator

    model = Tokenizer.from_pretrained(tokenizer) if tokenizer else None
    if tokenizer and Path(tokenizer).is_dir():  # the generator may be used from any folder
        tokenizer = str(Path(tokenizer).resolve())
    place = tokenizer or ""
    generator, report = read_generator(source, checkpoint, config, model, tokenizer_source=place, weights=weights)
    if text_tokenizer is not None:
        attach_text_tokenizer(generator, text_tokenizer)
    if model is None and generator.tokenizer is not None:  # some files hold it, and some generators have none
        generator.tokenizer.save_pretrained(out / TOKENIZER)
    if generator.condition_tokenizer is not None:
        generator.condition_tokenizer.save_pretrained(out / CONDITION_TOKENIZER)
    generator.save_pretrained(out)
    count = sum(p.numel() for p in generator.parameters())
    return [*report.lines(), f"{out}: {size_text(generator.shape)} codes, {count:,} parameters"]
