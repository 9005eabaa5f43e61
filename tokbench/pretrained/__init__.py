"""Published checkpoints in, and back out: taming (and its Gumbel), LlamaGen, RQ-VAE, Open-MAGVIT2, IBQ.

>>> tokenizer = load("taming", "last.ckpt", "model.yaml")  # an ordinary Tokenizer: saves, evaluates, trains on
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

from .report import ImportReport

if TYPE_CHECKING:
    from tokbench.models import Tokenizer

    from .importer import Weights

__all__ = ["ImportReport", "export", "load", "read", "sources"]


def sources() -> list[str]:
    """The names of the layouts that can be imported."""
    from .importer import importers

    return sorted(importers())


def load(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: str | PathLike[str] | None = None,
    weights: Weights = "auto",
) -> Tokenizer:
    """A published checkpoint as a :class:`~tokbench.models.Tokenizer`, in evaluation mode.

    Args:
        source: one of :func:`sources`; None or ``auto`` goes by the weights' names and the configuration's class.
        checkpoint: the file, or the folder of a model saved in pieces; only tensors are read, no code in it is run.
        config: the YAML or JSON it was published with. Without it the settings are read off the weights, and the image
            size, which they do not show, is taken to be 256.
        weights: ``live`` or ``ema`` where a file has both; ``auto`` takes what the official code evaluates.

    Raises:
        TokbenchError: a truncated file, a pickle with code in it, an unknown layout, weights that are missing, not
            finite or all zero, or a configuration that does not fit them.
    """
    return read(source, checkpoint, config, weights)[0]


def read(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: str | PathLike[str] | None = None,
    weights: Weights = "auto",
) -> tuple[Tokenizer, ImportReport]:
    """:func:`load`, and what became of every key in the file."""
    from tokbench.errors import TokbenchError, printable

    from .checkpoint import read_checkpoint, read_config, section
    from .filling import fill
    from .importer import choose
    from .weight_sets import Contents

    path = fspath(checkpoint)
    settings = read_config(config)
    content = read_checkpoint(path)
    what = "known"
    try:
        contents = Contents(content, path)
        importer, doubts = choose(source, contents, settings)
        what = importer.name
        chosen = contents.choose(importer.recognises, weights, importer.evaluates)
        plan = importer.read(chosen.weights.tensors, settings, path)
        tokenizer, report = fill(plan, importer.name, chosen, path)
    except TokbenchError as error:
        raise TokbenchError(printable(str(error), 1000)) from error
    except Exception as error:  # settings read off weights of absurd shapes lead anywhere
        reason = printable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", 160)
        raise TokbenchError(f"{path}: its weights make no {what} model ({reason})") from error
    report.notes += doubts
    if not section(settings, "resolution") and not section(settings, "image_size"):
        report.notes.append(f"no image size was given: taken to be {plan.config.image_size}")
    return tokenizer, report


def export(tokenizer: Tokenizer, format: str, out: str | PathLike[str]) -> list[str]:
    """Write ``tokenizer`` in an official layout, ``taming`` or ``rqvae``, with its YAML beside it; the files' names.

    Raises:
        TokbenchError: an unknown format, or a tokenizer that the layout cannot hold.
    """
    from .exporter import export as write

    return write(tokenizer, format, out)
