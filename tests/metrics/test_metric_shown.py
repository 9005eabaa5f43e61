"""From a metric to its column: how it is shown comes with it, through the evaluation and the record that users have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.metrics import evaluate_tokenizer, registry, tokenizer_record
from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.registry import get, register
from tokbench.models import Tokenizer
from tokbench.results.curves import curves
from tokbench.results.definitions import DEFINITIONS, Definition, Shown
from tokbench.results.entries import gather
from tokbench.results.layout import Section
from tokbench.results.published import load
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_markdown

MODEL = {"architecture": "vqgan", "channels": 8, "blocks": 1, "attention_resolutions": [], "latent_channels": 8}
RQ = {"name": "rq", "codebook_size": 16, "depth": 3}


def measured(metrics: list[str], quantizer: dict = RQ, levels: int = 2, name: str = "tiny", seed: int = 0) -> Record:
    """The record of a tokenizer that was never trained, at f2 with two levels and at f4 with three."""
    torch.manual_seed(seed)
    model = {**MODEL, "multipliers": [1] * levels}
    config = TokenizerConfig.model_validate({"image_size": 16, "model": model, "quantizer": quantizer})
    tokenizer = Tokenizer(config).eval()
    images = open_images("photos", "eval", image_size=16, limit=4)
    result = evaluate_tokenizer(tokenizer, images, metrics=metrics)
    recipe = {"name": name, "seed": seed, **config.model_dump(mode="json")}
    return tokenizer_record(result, tokenizer, name=name, recipe=recipe, cell=f"{name}{levels}{seed}", seed=seed)


def stored(tmp_path: Path, *records: Record) -> list[Record]:
    store = Store(tmp_path / "runs.jsonl")
    for record in records:
        store.append(record)
    assert not store.read().damaged
    return store.read()


def texts(section: Section, key: str) -> list[str]:
    index = [column.key for column in section.columns].index(key)
    return [row.cells[index].text for row in section.rows]


def test_f_comes_from_the_size_and_the_grid_and_keeps_curves_apart(tmp_path: Path) -> None:
    records = stored(tmp_path, measured(["psnr"]), measured(["psnr"], levels=3))
    (section,) = comparison(records, columns=["f", "psnr"], sort="f").sections
    assert texts(section, "downsampling") == ["2", "4"]
    entries = gather(records).entries
    assert [key.downsampling for key in curves(entries, "psnr")] == [2, 4]
    assert all(len(points) == 1 for points in curves(entries, "psnr").values())
    data, rate = records[0].plain()["data"], records[0].plain()["rate"]
    clips = records[0].replace(data={**data, "size": [17, 16, 32]}, rate={**rate, "tokens": [5, 2, 4, 3]})
    (row,) = gather([clips]).entries
    assert row.downsampling == "4x8x8"
    (row,) = gather([records[0].replace(rate={**rate, "tokens": [32, 3]})]).entries
    assert row.downsampling == "32 tokens"


def test_the_inception_score_has_one_name(tmp_path: Path) -> None:
    record = measured(["psnr", "is"])  # no weights here: its column says so
    found = get("is").result(123.456, 4, record.metrics["psnr"].version.partition("/")[0])
    (row,) = stored(tmp_path, record.replace(metrics={**record.metrics, "is": found}))
    published = [each for each in load() if "is" in each.metrics and each.kind == "generator"][:2]
    (own, others) = comparison([row], published=published, unverified=True).sections
    assert texts(own, "is") == ["123.5"] and "is" in [column.key for column in others.columns]
    assert "IS ↑" in to_markdown(comparison([row], columns=["is"]))


def test_entropy_is_shown_depth_by_depth_as_far_as_it_is_cumulative(tmp_path: Path) -> None:
    names = ["psnr", "usage", "perplexity", "entropy", "entropy_bpp"]
    (record,) = stored(tmp_path, measured(names))
    (section,) = comparison([record], columns=["quantizer", *names], by_depth=True).sections
    rates = record.metrics["entropy_bpp"].by_depth
    assert rates is not None and texts(section, "entropy_bpp") == [f"{rate:.3f}" for rate in rates]
    for name in ("usage", "perplexity", "entropy"):
        assert texts(section, name)[:2] == ["", ""] and texts(section, name)[2] != "-"
    assert len(section.rows) == 3 and texts(section, "psnr")[0] != ""


@pytest.fixture
def own_metric(monkeypatch: pytest.MonkeyPatch) -> str:
    registry.names()  # the others are found first
    monkeypatch.setattr(registry.METRICS, "_known", dict(registry.METRICS._known))

    @register
    class Contrast(PairMetric):
        """How much of the contrast is kept."""

        name = "contrast"
        definition = Definition("contrast kept", "higher", "%", Shown(digits=1, usual=True))

        def per_image(self, pairs: Pairs) -> Tensor:
            spread = [images.float().std(dim=(1, 2, 3)) for images in (pairs.sample, pairs.reference)]
            return 100 * spread[0] / spread[1]

    return Contrast.name


def test_a_metric_of_one_file_is_shown_as_it_says(tmp_path: Path, own_metric: str) -> None:
    (record,) = stored(tmp_path, measured(["psnr", own_metric]))
    value = record.metrics[own_metric].value
    (section,) = comparison([record], by_depth=True).sections  # nobody asks for its column
    assert texts(section, own_metric)[-1] == f"{value:,.1f}" and texts(section, own_metric)[0] != ""
    assert "contrast kept (%) ↑" in to_markdown(comparison([record]))
    assert record.plain()["metrics"]["contrast"]["shown"]["digits"] == 1
    assert "shown" not in record.plain()["metrics"]["psnr"]  # as in every record before


def test_a_metric_has_one_definition() -> None:
    for name in registry.names():
        own = registry.get(name).definition
        assert own is DEFINITIONS.get(name, own) and own.label
    for name, more in (("undefined", {}), ("psnr2", {}), ("ssim_luma", {"definition": Definition("x", "lower")})):
        registry.names()
        kind = type("Wrong", (PairMetric,), {"name": name, "per_image": lambda self, pairs: None, **more})
        with pytest.raises(ValueError, match="already registered|one definition"):
            register(kind)


def test_codes_of_two_to_the_36th_are_counted(tmp_path: Path) -> None:
    bsq = {"name": "bsq", "bits": 36, "factor_bits": [36], "entropy_groups": [9, 9, 9, 9]}
    (record,) = stored(tmp_path, measured(["usage", "perplexity", "entropy", "entropy_bpp"], bsq))
    assert record.rate is not None and record.rate.codebook_sizes == [2**36]
    usage, perplexity = record.metrics["usage"].value, record.metrics["perplexity"].value
    assert usage is not None and 0 < usage <= 4 * 64 / 2**36
    assert perplexity is not None and 1 <= perplexity <= 4 * 64 + 1e-6
