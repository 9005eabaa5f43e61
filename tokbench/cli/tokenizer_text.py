"""tokbench tokenizer-text: tokenizers of the texts that generators are conditioned on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Tokenizers of texts, for generators given captions.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """There is one command so far, which is named all the same."""


@app.command("train")
def train(
    data: Annotated[str, typer.Argument(help="Images with captions: emoji, folder:PATH, parquet:FILES, ...")],
    vocabulary: Annotated[int, typer.Option("--vocab", min=3, max=1_000_000, help="Tokens, at most.")] = 16384,
    out: Annotated[Path, typer.Option("--out", help="The tokenizer.json to write.")] = Path("tokenizer.json"),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many captions.")] = None,
) -> None:
    """Learn a BPE from the captions of a training split; its file goes into generator.text.tokenizer."""
    from tokbench.data import open_images
    from tokbench.errors import TokbenchError, counted
    from tokbench.generators.text_training import train_text_tokenizer
    from tokbench.printing import terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    check_target(out)
    images = open_images(data, "train", image_size=64, limit=limit)
    images.read_captions()
    if (captions := images.captions) is None:
        raise TokbenchError(f"{data}: a stream is not read for its captions alone; leave :streaming out")
    made = train_text_tokenizer(captions, vocabulary, data)
    write(out, made.definition)
    lengths = sorted(map(len, made.rows(captions)))
    terminal().print(
        f"{out}: {made.vocabulary:,} tokens from {counted(len(lengths), 'caption')} of {data}; a caption has "
        f"{lengths[len(lengths) // 2]} tokens (median), the longest {lengths[-1]}"
    )
