"""The card of a cell's model once more when it was measured: training wrote it without figures."""

from __future__ import annotations

from pathlib import Path

import torch

from tokbench.generators import storage as generators
from tokbench.models import Tokenizer
from tokbench.models import storage as tokenizers
from tokbench.results.card import Card, write_card
from tokbench.results.record import Record


def measured_card(record: Record, out: Path) -> None:
    """Write the card of the model a finished record is about, with the record's figures; a user's own is left alone."""
    if record.error is not None or record.kind not in record.artifacts:
        return
    folder = out / record.artifacts[record.kind]
    write_card(folder, _about(folder, record.kind).text(record=record))


def _about(folder: Path, kind: str) -> Card:
    with torch.device("meta"):  # its configuration says it all
        if kind == "tokenizer":
            return tokenizers.card(Tokenizer(tokenizers.read_config(folder / tokenizers.CONFIG)))
        return generators.card(generators.build(generators.read_config(folder)))
