"""The card of a cell's model once more when it was measured: training wrote it without figures."""

from __future__ import annotations

from pathlib import Path

from tokbench.generators import storage as generators
from tokbench.models import Tokenizer
from tokbench.models import storage as tokenizers
from tokbench.results.record import Record


def measured_card(record: Record, out: Path) -> None:
    """Write the card of the model a finished record is about, with the record's figures; a user's own is left alone."""
    if record.error is not None or record.kind not in record.artifacts:
        return
    folder = out / record.artifacts[record.kind]
    if record.kind == "tokenizer":
        tokenizer = Tokenizer.from_pretrained(folder)
        tokenizers.refresh_card(tokenizer, folder, tokenizers.card(tokenizer))
    else:
        generator = generators.load(folder)
        tokenizers.refresh_card(generator, folder, generators.card(generator))
