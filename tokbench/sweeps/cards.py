"""The card of a cell's model once more when it was measured: training wrote it without figures."""

from __future__ import annotations

from pathlib import Path

from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.models.folder import SavedModel, read_config
from tokbench.models.weightless import weightless
from tokbench.results.card import Card, write_card
from tokbench.results.record import Record


def measured_card(record: Record, out: Path) -> None:
    """Write the card of the model a finished record is about, with the record's figures; a user's own is left alone."""
    if record.error is not None or record.kind not in record.artifacts:
        return
    folder = out / record.artifacts[record.kind]
    write_card(folder, _about(folder, record.kind).text(record=record))


def _about(folder: Path, kind: str) -> Card:
    model: type[SavedModel] = Tokenizer if kind == "tokenizer" else Generator
    with weightless():  # its configuration says it all
        return model.of(read_config(folder, model.Config)).card()
