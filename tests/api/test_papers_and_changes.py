"""CITATION.cff and CHANGELOG.md say what the code says."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import yaml

import quantizers
import tokbench
from tokbench.codes import header
from tokbench.data import PROTOCOLS
from tokbench.generators import tokb
from tokbench.metrics import get, names
from tokbench.results.record import SCHEMA
from tokbench.training import checkpoint

ROOT = Path(__file__).parents[2]


def test_the_papers_of_every_quantizer_are_cited() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    cited = {reference.get("url", reference.get("doi")) for reference in citation["references"]}
    for name in quantizers.names():
        paper = quantizers.get(name).paper
        links = [f"https://arxiv.org/abs/{number}" for number in re.findall(r"arXiv:([\d.]+\d)", paper)]
        links += re.findall(r"doi:(\S+\w)", paper)
        assert set(links) <= cited, (name, set(links) - cited)


def test_there_is_one_version() -> None:
    """That of the tag: nothing in the checkout says another."""
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert re.search(r'^version = "', (ROOT / "pyproject.toml").read_text(), re.MULTILINE) is None
    assert tokbench.__version__ == metadata.version("tokbench")


def test_the_changelog_says_which_versions_hold() -> None:
    parts = re.split(r"^## (.+)\n", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    heads = dict(zip(parts[1::2], (" ".join(part.split()) for part in parts[2::2]), strict=True))
    assert list(heads)[:4] == ["Metric versions", "Content addresses", "Record schema", "Unreleased"]
    for name in {*names("reconstruction"), *names("generation")}:
        assert get(name).version == 1 or f"{name}-{get(name).version}" in heads["Metric versions"], name
    assert all(f"`{name}`" in heads["Metric versions"] for name in PROTOCOLS)
    assert f"`schema_version` is {SCHEMA}." in heads["Record schema"]
    formats = f"checkpoints {checkpoint.FORMAT}, code caches {header.FORMAT}, `.tokb` files {tokb.VERSION}"
    assert formats in heads["Record schema"]
