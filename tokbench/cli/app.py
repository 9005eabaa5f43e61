"""The commands, one per file, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tokbench import threads
from tokbench.cli import models, tokenizer_text, weights
from tokbench.cli.bench_codecs import bench_codecs
from tokbench.cli.bench_data import data as bench_data
from tokbench.cli.bench_generators import bench_generators
from tokbench.cli.bench_gpu import bench_gpu
from tokbench.cli.bench_import import bench_import
from tokbench.cli.bench_load import bench_load
from tokbench.cli.bench_metrics import bench_metrics
from tokbench.cli.bench_quantizers import quantizers as bench_quantizers
from tokbench.cli.bench_sampling import bench_sampling
from tokbench.cli.bench_tokenizer import bench_tokenizer
from tokbench.cli.check_records import check_records
from tokbench.cli.claims import claims
from tokbench.cli.compare import compare
from tokbench.cli.compress import compress
from tokbench.cli.decompress import decompress
from tokbench.cli.diff import diff
from tokbench.cli.doctor import doctor
from tokbench.cli.encode import encode
from tokbench.cli.evaluate import evaluate
from tokbench.cli.evaluate_generator import evaluate_generator
from tokbench.cli.explore import explore
from tokbench.cli.export import export
from tokbench.cli.generate import generate
from tokbench.cli.import_ import import_
from tokbench.cli.list import list_
from tokbench.cli.plot import plot
from tokbench.cli.probe import probe
from tokbench.cli.reconstruct import reconstruct
from tokbench.cli.refusals import Commands
from tokbench.cli.report import report
from tokbench.cli.show import show
from tokbench.cli.sweep import SweepCommand, sweep
from tokbench.cli.table import table
from tokbench.cli.train import train

ABOUT = "The comparative toolkit for visual tokenizers: train, measure and compare VQ, RQ, LFQ and successors."

_SETTINGS = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="tokbench",
    cls=Commands,
    help=ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Train and measure": {
        "train": train,
        "sweep": sweep,
        "claims": claims,
        "evaluate": evaluate,
        "compare": compare,
        "probe": probe,
        "reconstruct": reconstruct,
    },
    "Generate": {
        "encode": encode,
        "generate": generate,
        "evaluate-generator": evaluate_generator,
        "compress": compress,
        "decompress": decompress,
    },
    "Look": {
        "table": table,
        "plot": plot,
        "report": report,
        "explore": explore,
        "show": show,
        "diff": diff,
        "check-records": check_records,
    },
    "Published checkpoints": {"import": import_, "export": export},
    "This machine": {"list": list_, "doctor": doctor},
}
for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel, cls=SweepCommand if _command is sweep else None)(_command)

_BENCHES: dict[str, Callable[..., object]] = {
    "quantizers": bench_quantizers,
    "tokenizer": bench_tokenizer,
    "sampling": bench_sampling,
    "generators": bench_generators,
    "data": bench_data,
    "metrics": bench_metrics,
    "codecs": bench_codecs,
    "load": bench_load,
    "import": bench_import,
    "gpu": bench_gpu,
}
bench = typer.Typer(
    help="Speed and memory, side by side.",
    no_args_is_help=True,
    context_settings=_SETTINGS,
    callback=threads.hold,
)
for _name, _bench in _BENCHES.items():
    bench.command(_name)(_bench)
app.add_typer(bench, name="bench", rich_help_panel="This machine")
app.add_typer(models.app, name="models", rich_help_panel="Published checkpoints")
app.add_typer(tokenizer_text.app, name="tokenizer-text", rich_help_panel="Generate")
app.add_typer(weights.app, name="weights", rich_help_panel="This machine")


def _version(wanted: bool) -> None:
    if wanted:
        from tokbench import __version__

        print(f"tokbench {__version__}")
        raise typer.Exit()


@app.callback(help=ABOUT)
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Results, warnings and errors only: no progress, nothing of what is done.")
    ] = False,
) -> None:
    """What comes before every command."""
    from tokbench.printing import hush

    hush(quiet)
