"""Passwords, signatures and tokens in a data source stay in the run's own recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from results_synthetic import record

from tokbench.errors import TokbenchError
from tokbench.results.card import Card
from tokbench.results.report import build
from tokbench.results.store import Store, parse
from tokbench.results.table import comparison, to_csv, to_html, to_json, to_latex, to_markdown
from tokbench.secrets import redacted, without_secrets
from tokbench.training.run_log import append_event

SECRETS = ("s3cret", "5ignature", "hf_AbCdEfGhIjKl", "AKIAIOSFODNN7EXAMPLE")
SOURCE = (
    "webdataset:train=https://user:s3cret@host/t-{000..009}.tar?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE&sig=5ignature,"
    "eval=https://host/e.tar?token=hf_AbCdEfGhIjKl:streaming"
)
RECIPE = {"name": "x", "data": {"source": SOURCE, "image_size": 64}, "api_key": "s3cret", "steps": [1, {"a": SOURCE}]}


def clean(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (SOURCE, "webdataset:train=https://***@host/t-{000..009}.tar?***,eval=https://host/e.tar?***"),
        ("https://u:p?s3cret@host/x", "https://***@host/x"),
        ("url: /p?X-Amz-Signature=5ignature&a=b", "url: /p?X-Amz-Signature=***&a=b"),
        ("SharedAccessSignature=5ignature;AccountKey=s3cret", "SharedAccessSignature=***;AccountKey=***"),
        ("Authorization: Bearer hf_AbCdEfGhIjKl", "Authorization: Bearer ***"),
        ("password = s3cret", "password = ***"),
    ],
)
def test_what_is_left_of_a_secret(text: str, left: str) -> None:
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    ["hub:uoft-cs/cifar10", "folder:/home/me@work/x", "https://host/x.tar", "s3://bucket/key", "training.steps=20",
     "quantizer.token=16", "tokenizer=runs/demo/tokenizer", "64x64, K=256", "design=2"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_record_and_all_that_is_made_of_it_hold_none(tmp_path: Path) -> None:
    asked = record(recipe=RECIPE, name=SOURCE, training={"data": SOURCE, "steps": 5, "seconds": 1.0})
    asked = asked.replace(data={**asked.plain()["data"], "spec": SOURCE})
    store = Store(tmp_path / "runs.jsonl")
    store.append(asked)
    line = (tmp_path / "runs.jsonl").read_text()
    assert clean(line) and "https://***@host/t-{000..009}.tar" in line
    wrote = asked.plain() | {"recipe": RECIPE, "name": SOURCE}  # an older tokbench
    older = parse(json.dumps(wrote).encode())
    assert len(older) == 1 and clean(older[0].line.decode())
    table = comparison([asked], columns=["name", "train_data", "recipe.data.source", "psnr"])
    for page in (to_markdown(table), to_csv(table), to_html(table), to_json(table), to_latex(table)):
        assert clean(page)
    assert clean(build(older, tmp_path))
    card = Card("tokenizer", SOURCE, "about", "{source}", [("from", SOURCE)])
    for text in (card.text(record=asked), card.text(recipe=RECIPE)):
        assert clean(text) and "image_size: 64" in text


def test_errors_logs_and_trackers_hold_none(tmp_path: Path) -> None:
    assert clean(str(TokbenchError(f"{SOURCE}: cannot be read")))
    append_event(tmp_path / "log.jsonl", 1, 0.0, "skipped", f"{SOURCE}: cannot be read")
    assert clean((tmp_path / "log.jsonl").read_text())
    assert without_secrets(RECIPE)["api_key"] == "***" and clean(str(without_secrets(RECIPE)))


def test_a_name_that_is_not_text_is_recorded(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.jsonl")
    store.append(record().replace(name="a\udcff"))
    assert [r.name for r in store.read()] == ["a\\udcff"]
