"""``tokbench claims``: the papers' claims, reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tokbench.cli.options import Cpu


def claims(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Claims by name, or all. Without: lists them.")
    ] = None,
    scale: Annotated[
        Literal["cpu", "gpu", "paper"],
        typer.Option("--scale", help="What to train: half an hour on two cores, on a GPU, or as the paper did."),
    ] = "cpu",
    data: Annotated[
        str | None, typer.Option("--data", metavar="SPEC", help="Images in place of the recipes' own.")
    ] = None,
    seed: Annotated[list[str] | None, typer.Option("--seed", help="Default 0,1,2.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for records and pages.")] = Path("results/claims"),
    work: Annotated[Path, typer.Option("--work", help="Folder of the cells, which all claims share.")] = Path(
        "runs/claims"
    ),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Cells side by side, over the visible GPUs.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and what they would cost.")] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="Train nothing: judge the records that are there, write the pages.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Run at --scale paper, whatever it costs.")] = False,
    cpu: Cpu = False,
) -> None:
    """Train what a claim needs, judge it from the records, write its page.

    Killed half-way, the same command continues where it stopped. Cells that several claims need are trained once.
    """

    from tokbench.claims.definition import load_claim, load_claims
    from tokbench.claims.page import judged, print_list
    from tokbench.errors import TokbenchError
    from tokbench.printing import say, terminal

    console = terminal()
    if not names:
        print_list(judged(out), console)
        return
    chosen = load_claims() if names == ["all"] else [load_claim(name) for name in dict.fromkeys(names)]
    if names == ["all"]:
        chosen = [claim for claim in chosen if scale in claim.scales]

    from tokbench.claims.session import Session
    from tokbench.cli.options import numbers

    session = Session(scale, data, numbers("--seed", seed) or None, out, work, jobs, cpu, console)
    if dry_run or (scale == "paper" and not judge and not yes):
        session.cost(chosen)
        if not dry_run:
            console.print("nothing was run: --scale paper runs with --yes")
        return
    failed = 0
    for claim in chosen:
        try:
            failed += session.judge(claim) if judge else session.run(claim)
        except TokbenchError as error:
            if len(chosen) == 1:
                raise
            failed += 1
            say(f"{claim.name}: {error}")
    if failed:
        raise typer.Exit(1)
