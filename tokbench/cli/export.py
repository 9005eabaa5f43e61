"""tokbench export"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import TOKENIZER


def export(
    tokenizer: Annotated[str, typer.Argument(help=TOKENIZER)],
    out: Annotated[Path, typer.Option("--out", help="The checkpoint to write, its YAML beside it; or the folder.")],
    to: Annotated[
        str,
        typer.Option("--to", help="A layout: taming, rqvae, diffusers; or programs of encode and decode: onnx, torch."),
    ],
) -> None:
    """Write a tokenizer in an official layout, for the authors' own code, or as programs that need no code at all."""

    from tokbench.config.generator import GeneratorConfig
    from tokbench.errors import TokbenchError
    from tokbench.models import Tokenizer
    from tokbench.models.folder import holds
    from tokbench.pretrained import export as write
    from tokbench.printing import say
    from tokbench.results.locks import alone

    if holds(Path(tokenizer), GeneratorConfig):
        raise TokbenchError(
            f"{tokenizer}: a generator, and tokenizers alone are exported (taming's GPT has one table for condition "
            "and codes; here each has its own, and further training makes two of what was one)"
        )
    busy = f"--out {out}: another process is writing it; name a new file"
    with alone(out.with_name(f".tokbench-{out.name}.lock"), busy):
        for path in (out, out.with_suffix(".yaml")):
            if os.path.lexists(path):
                raise TokbenchError(f"--out {out}: {path} is already there; name a new file")
        written = write(Tokenizer.from_pretrained(tokenizer), to, out)
    say(f"wrote {' and '.join(written)}")
