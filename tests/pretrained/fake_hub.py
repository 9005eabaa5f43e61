"""What the tests of published names share: a model that the catalogue has not, and commands in this process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.pretrained.catalogue import Entry

HUB = "somebody/tiny"


def entry(**changes: Any) -> Entry:
    """Of the tokenizer in ``hub``: 16x16 positions of 32x32 images, 16 codes."""
    usual = {"name": "tiny-f2", "title": "tiny", "paper": "none", "source": "this test", "hub": HUB, "size": 32}
    usual |= {"weights": "vq/tiny.pt", "importer": "llamagen", "settings": {"codebook_size": 16, "image_size": 32}}
    return Entry.model_validate({**usual, "tokens": 256, "bits": 4, "licence": "mit", **changes})


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
