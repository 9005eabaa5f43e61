"""The page: everything in it, nothing from outside, nothing a name says can run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from results_synthetic import folder, record, sweep

from tokbench.results.report import build
from tokbench.results.store import Store

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def charts(page: str) -> list[dict]:  # type: ignore[type-arg]
    found = re.search(r'<script id="charts" type="application/json">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = folder(tmp_path_factory.mktemp("results"))
    return build(Store(home / "runs.jsonl").read(), home, damaged=[(7, "half a line")])


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    tags = _Page(page).tags
    assert not [t for t, _ in tags if t in ("link", "iframe", "object", "base")]
    sources = [a.get(k) or "" for _, a in tags for k in ("src", "href", "data") if k in a]
    assert sources and all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy


def test_it_shows_tables_curves_images_failures_and_environment(page: str) -> None:
    tags = [tag for tag, _ in _Page(page).tags]
    assert tags.count("tbody") == 2 and tags.count("img") == 2 * 9 + 2
    for text in ("loss is not finite at step 120", "line 7: half a line", "0123456789abcdef, clean", "coarse to fine"):
        assert text in page
    titles = [chart["title"] for chart in charts(page)]
    assert {"Rate and distortion", "Depth by depth", "Codebook size", "Training"} == set(titles)


def test_the_curves_are_valid_plotly_figures_with_the_records_numbers(page: str) -> None:
    import plotly.graph_objects as go

    for chart in charts(page):
        assert chart["options"]
        for option in chart["options"]:
            go.Figure(data=option["data"], layout=option["layout"])
    rate = charts(page)[0]
    assert rate["options"][0]["label"] == "PSNR (dB) ↑"
    vq = next(d for d in rate["options"][0]["data"] if d.get("name") == "vq")
    assert [d["name"] for d in rate["options"][0]["data"] if not d.get("x") or d["x"] == [None]] == [
        "fixed-length", "entropy-coded", "first codes of one model"
    ]  # fmt: skip
    assert vq["x"] == [0.375, 0.5, 0.625] and len(vq["error_y"]["array"]) == 3


def test_names_cannot_break_out() -> None:
    rows = [
        record(name="vq", size=size, quantizer={"name": NASTY, "codebook_size": size}, environment={NASTY: NASTY})
        for size in (64, 256)
    ]
    rows.append(record("rq", error=NASTY))
    text = build(rows, Path(), title=NASTY, damaged=[(1, NASTY)])
    page = _Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert not [a for _, a in page.tags if "onerror" in a]
    names = [d.get("name", "") for c in charts(text) for o in c["options"] for d in o["data"]]
    assert any("&lt;script&gt;" in name for name in names) and not any("<" in name for name in names)


def test_images_that_are_not_there_or_not_ours_are_said_so(tmp_path: Path) -> None:
    home = tmp_path / "results"
    home.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    artifacts = {"originals": "gone.png", "reconstructions": "../secret.png", "samples": "/etc/hostname"}
    text = build([record(artifacts=artifacts)], home)
    assert "originals: gone.png: No such file" in text
    assert "../secret.png lies outside the results folder" in text and "c2VjcmV0" not in text
    assert "samples: /etc/hostname is not an image" in text


def test_an_empty_page_says_how_to_fill_it() -> None:
    assert "tokbench sweep" in build([], Path())


def test_published_rows_are_marked() -> None:
    assert 'class="published"' in build(sweep()[:1], Path(), published=True)
