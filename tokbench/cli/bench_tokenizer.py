"""tokbench bench tokenizer"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tokbench.cli.options import Cpu, Set


def bench_tokenizer(
    what: Annotated[str, typer.Argument(help="A recipe's name or file, or a tokenizer's folder.")] = "demo",
    overrides: Set = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 8,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option("--precision")] = "fp32",
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Channels-last memory format.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Encoder and decoder through torch.compile.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="Recompute activations in the backward pass.")
    ] = False,
    beside: Annotated[
        Literal["taming", "o2"] | None,
        typer.Option(
            "--beside",
            help="Also the authors' own module with the same weights: taming (tokbench[peers]), o2 (as restated here).",
        ),
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="On a CPU also the peak memory of a train step, in a process for each row.")
    ] = False,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed turns; the median is shown.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
    cpu: Cpu = False,
) -> dict[str, Any]:
    """Images per second of encode, decode and train step; any option is compared with plain fp32 in the same run."""
    import json

    from tokbench.bench.tokenizer import PARTS, StepOptions
    from tokbench.bench.tokenizer import bench_tokenizer as run
    from tokbench.cli.options import device
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    plain = StepOptions()
    asked = StepOptions(precision, channels_last, compile, checkpointing)
    variants = [plain] if asked == plain else [plain, asked]
    config = _config(what, overrides or ())
    if out is not None:
        check_target(out, [what])
    settings: dict[str, Any] = {"batch_size": batch_size, "repeats": repeats, "device": device(cpu), "memory": memory}
    result = run(config, variants, beside=beside, **settings)
    title = f"{what}: {result['parameters']:,} parameters, batch {batch_size}, {result['device']}"
    rows = []
    for row in result["rows"]:
        cells = []
        for part in PARTS:
            cell = f"{row['images_per_second'][part]:.1f}"
            cell += f" ({row['speedup'][part]:.2f}x)" if row is not result["rows"][0] else ""
            cell += f", {row['peak_mib'][part]:.0f} MiB" if part in row.get("peak_mib", {}) else ""
            cells.append(cell)
        rows.append([row["variant"], *cells])
    print_numbers(terminal(), ["images/s", *PARTS], rows, [], title=title)
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result


def _config(what: str, overrides: Any) -> Any:
    """The tokenizer's configuration out of a folder or a recipe."""
    from tokbench.config.loading import draft_recipe
    from tokbench.config.model import TokenizerConfig
    from tokbench.config.recipe import TokenizerRecipe
    from tokbench.errors import TokbenchError
    from tokbench.models.folder import CONFIG, read_config

    if (Path(what) / CONFIG).is_file():
        if overrides:
            raise TokbenchError(f"--set goes with a recipe; {what} is a trained tokenizer")
        return read_config(Path(what), TokenizerConfig)
    recipe = draft_recipe(what, overrides).check()
    if not isinstance(recipe, TokenizerRecipe):
        raise TokbenchError(f"{what}: not a tokenizer's recipe")
    return recipe.tokenizer
