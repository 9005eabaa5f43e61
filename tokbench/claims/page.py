"""The pages of claims, a pure function of the recipe sets and of the records that lie beside the pages; and the same
on the terminal. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tokbench.claims.definition import SCALES, Claim, load_claims
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import RULE, Finding, Verdict
from tokbench.claims.results import Result, check_of, draw, find
from tokbench.errors import counted, noun_of, typed
from tokbench.results.attributes import attribute
from tokbench.results.entries import Entry
from tokbench.results.files import write
from tokbench.results.record import Record
from tokbench.results.render import markdown, plain_table

_STYLES = {Verdict.holds: "green", Verdict.fails: "red", Verdict.undecided: "yellow", Verdict.missing: "dim"}
MARKS = ("<!-- claims: written by `tokbench claims` -->", "<!-- /claims -->")
Judged = Sequence[tuple[Claim, Sequence[Result]]]
_PROVENANCE = {"read": "", "second-hand": " (second-hand)", "unverified": " (not verified against the paper)"}


def judged(home: Path, given: Sequence[Claim] = ()) -> Judged:
    """Every claim in order, with what was found below ``home`` at each scale it was tried at.

    ``given`` claims are known beside those that ship, or in place of one of the same name.
    """
    known = {claim.name: claim for claim in [*load_claims(), *given]}
    found = []
    for claim in sorted(known.values(), key=lambda claim: claim.order):
        of_claim = [result for scale in SCALES if (result := find(claim, scale, home)) is not None]
        found.append((claim, of_claim))
    return found


def pages(home: Path, results: Judged) -> dict[str, str]:
    """File name to content of every page and table below ``home``, where the results lie."""
    found: dict[str, str] = {}
    for claim, of_claim in results:
        if of_claim:
            found[f"{claim.name}/README.md"] = claim_page(claim, of_claim, home)
        for result in of_claim:
            found[f"{claim.name}/{result.scale}/table.md"] = result.table
    if found:
        found["README.md"] = "# Claims\n\n" + INTRODUCTION + "\n\n" + overview(results) + "\n"
    return found


INTRODUCTION = (
    "What the papers claim, asked again under one protocol: `tokbench claims NAME` trains what a claim needs, judges "
    "it from the records and writes its page. A claim that does not hold at the scale it was tried at is a result."
)


def stale(home: Path) -> list[str]:
    """Pages and tables below ``home`` that are not what the records there give: changed, missing, or of no claim."""
    wanted = pages(home, judged(home))
    there = {str(path.relative_to(home)): path.read_text(encoding="utf-8") for path in sorted(home.rglob("*.md"))}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def regenerate(home: Path, readme: Path | None = None) -> list[Path]:
    """All tables, figures and pages below ``home`` anew from the records there, and the README's table."""
    for claim in load_claims():
        for scale in SCALES:
            result = find(claim, scale, home)
            if result is not None:
                draw(result, home / claim.name / scale)
    return write_pages(home, readme)


def write_pages(home: Path, readme: Path | None = None, given: Sequence[Claim] = ()) -> list[Path]:
    """Every page and table that is not what the records give, and the table of claims in the project's README."""
    results, written = judged(home, given), []
    for name, content in pages(home, results).items():
        path = home / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write(path, content)
            written.append(path)
    if readme is not None and readme.exists():
        text = update_readme(readme, home, results)
        if text is not None and text != readme.read_text(encoding="utf-8"):
            write(readme, text)
            written.append(readme)
    return written


def overview(results: Judged, base: str = "") -> str:
    """The table of all claims: verdict and first finding at each scale they were tried at."""
    lines = ["| claim | scale | verdict | what was seen |", "| --- | --- | --- | --- |"]
    for claim, of_claim in results:
        if not of_claim:
            lines.append(f"| {claim.title} | - | not run yet | |")
        for result in of_claim:
            first = next((f for f in result.findings if not f.informational and f.effect is not None), None)
            seen = f"{markdown(first.statement)}: {first.size}" if first else ""
            title = f"[{claim.title}]({base}{claim.name}/README.md)"
            lines.append(f"| {title} | {result.scale} | **{result.verdict}** | {seen} |")
    return "\n".join(lines)


def update_readme(readme: Path, home: Path, results: Judged) -> str | None:
    """The project's README with its table of claims made anew; None where it has no place for one."""
    text = readme.read_text(encoding="utf-8")
    begin, end = (text.find(mark) for mark in MARKS)
    if begin < 0 or end < begin:
        return None
    table = overview(results, f"{home.as_posix()}/")
    return text[: begin + len(MARKS[0])] + f"\n\n{table}\n\n" + text[end:]


def claim_page(claim: Claim, results: Sequence[Result], home: Path) -> str:
    """One claim at every scale it was tried at."""
    verdicts = "; ".join(f"**{result.verdict}** at {result.scale} scale" for result in results)
    blocks = [f"# {claim.title}", claim.question, f"Verdict: {verdicts}.", "## What the paper says", claim.says]
    if claim.figures:
        rows = [
            (markdown(f.what), markdown(f.value), markdown(f.source) + _PROVENANCE[f.provenance]) for f in claim.figures
        ]
        blocks.append(plain_table(("figure", "value", "source"), rows))
    for result in results:
        blocks += _scale(claim, result, home)
    blocks += ["## How it is judged", getattr(check_of(claim.name), "RULE", RULE)]
    if claim.limits:
        blocks += ["## Limits", claim.limits]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _scale(claim: Claim, result: Result, home: Path) -> list[str]:
    evidence = result.evidence
    blocks = [f"## What we see at {result.scale} scale", findings_table(result.findings)]
    if (home / claim.name / result.scale / "figure.svg").exists():
        blocks.append(f"![{claim.title}, {result.scale} scale]({result.scale}/figure.svg)")
    if (home / claim.name / result.scale / "pictures.png").exists():
        blocks.append(f"![held-out images and their reconstructions, seed 0]({result.scale}/pictures.png)")
    blocks.append(result.table.replace("### ", "#### "))
    blocks.append("\n".join(f"- {line}" for line in facts(evidence)))
    limits = claim.at(result.scale).limits
    if limits:
        blocks.append(f"Limits of this scale: {limits}")
    blocks.append(f"```\n{command(evidence)}\n```")
    return blocks


def findings_table(findings: Sequence[Finding]) -> str:
    """Statement, verdict, effect over seeds, and the numbers behind it."""
    rows = []
    for f in findings:
        verdict = f"{f.verdict.value}, *informational*" if f.informational else f"**{f.verdict.value}**"
        rows.append((markdown(f.statement), verdict, f.size, str(f.seeds or "-"), markdown(f.detail)))
    return plain_table(("statement", "verdict", "effect", "seeds", "from"), rows, numbers=(2, 3))


def facts(evidence: Evidence) -> list[str]:
    """What the numbers are of: images, training, seeds, revision, hardware, and what is missing."""
    records, asked = evidence.records, evidence.asked
    lines = [f"{len(records)} of {len(asked.cells)} cells measured, seeds {', '.join(map(str, asked.seeds))}"]
    measured = (
        f"{counted(r.data.n, noun_of(r.data.size))} of {r.data.spec} ({r.data.split}) at {typed(r.data.size)} pixels, "
        f"protocol {r.data.protocol}"
        for r in records if r.data is not None
    )  # fmt: skip
    trained = (
        f"{counted(r.training['steps'], 'step')} of {r.training.get('batch_size')} on {r.training.get('data')} "
        f"({r.kind}s)"
        for r in records if r.training.get("steps")
    )  # fmt: skip
    revisions = (str(attribute("revision").value(Entry((r,)))) for r in records)
    said = {"measured on": measured, "trained for": trained, "revision": revisions, "made on": map(_hardware, records)}
    for what, each in said.items():
        if distinct := dict.fromkeys(each):
            lines.append(f"{what} {'; '.join(map(markdown, distinct))}")
    lines += [f"failed: {name}: {markdown(why)}" for name, why in evidence.failed.items()]
    lines += [f"cannot be run: {label}: {markdown(why)}" for label, why in asked.impossible]
    lines += [f"missing: {', '.join(evidence.missing)}"] if evidence.missing else []
    return lines


def command(evidence: Evidence) -> str:
    """What to type to have this page made again, training included."""
    asked = evidence.asked
    words = ["tokbench", "claims", asked.claim, "--scale", asked.scale]
    words += ["--data", asked.data] if asked.data is not None else []
    words += ["--seed", ",".join(map(str, asked.seeds))]
    return " ".join(words)


def _hardware(record: Record) -> str:
    environment = record.environment
    device = str(record.timing.get("device", ""))
    gpus = environment.get("gpus") or []
    where = str(gpus[0]) if gpus and device != "cpu" else f"{environment.get('cpu')}, {environment.get('cores')} cores"
    return f"{where}, torch {environment.get('torch')}"


def print_list(claims: Iterable[tuple[Claim, Sequence[Result]]], console: Console) -> None:
    """Name, question, and the verdicts there are."""
    table = Table("claim", "question", "verdict", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    for claim, results in claims:
        verdict = "; ".join(f"{result.verdict} ({result.scale})" for result in results)
        table.add_row(Text(claim.name), Text(claim.question), Text(verdict or "-"))
    console.print(table)


def print_result(result: Result, console: Console) -> None:
    """Verdict, then each statement with effect, spread over seeds, and where it comes from."""
    evidence = result.evidence
    console.print(Text(f"{evidence.claim.title}: {result.verdict} ({result.scale} scale)", style="bold"))
    # A list and not a table: statements are sentences, and in columns they would be a word wide.
    for finding in result.findings:
        line = Text(finding.verdict.value, _STYLES[finding.verdict])
        line.append(f"{' (informational)' if finding.informational else ''}: {finding.statement}", "default")
        console.print(Padding(line, (0, 0, 0, 2)))
        if finding.effect is not None:
            detail = f"; {finding.detail}" if finding.detail else ""
            numbers = f"{finding.size} over {counted(finding.seeds, 'seed')}{detail}"
            console.print(Padding(Text(numbers, style="dim"), (0, 0, 0, 6)))
    for name, why in evidence.failed.items():
        console.print(Text(f"failed: {name}: {why}", style="red"))
    for label, why in evidence.asked.impossible:
        console.print(Text(f"cannot be run: {label}: {why}"))
    if evidence.missing:
        console.print(Text(f"missing: {', '.join(evidence.missing)}", style="yellow"))
