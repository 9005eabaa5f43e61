"""Published models by name: a hub of files made here, in huggingface_hub's own cache, and nothing fetched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from official import GRADIENT, save_llamagen, tokenizer
from PIL import Image
from typer.testing import CliRunner

from tokbench import pretrained
from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained import catalogue, named
from tokbench.pretrained.catalogue import Entry
from tokbench.pretrained.importer import of_tokenizers
from tokbench.results.store import Store

HUB = "somebody/tiny"
TINY = {"architecture": "llamagen", "channels": 32, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8}


def entry(**changes: Any) -> Entry:
    """Of the tokenizer in ``hub``: 16x16 positions of 32x32 images, 16 codes."""
    usual = {"name": "tiny-f2", "title": "tiny", "paper": "none", "source": "this test", "hub": HUB, "size": 32}
    usual |= {"weights": "vq/tiny.pt", "importer": "llamagen", "settings": {"codebook_size": 16, "image_size": 32}}
    return Entry.model_validate({**usual, "tokens": 256, "bits": 4, "licence": "mit", **changes})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llamagen") / "tiny.pt"
    quantizer = {**GRADIENT, "codebook_size": 16, "beta_on": "commitment", "l2_norm": True}
    save_llamagen(tokenizer({**TINY, "code_channels": 6}, quantizer), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is here and nothing can be fetched; the catalogue has one model more."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    known = {**catalogue.entries(), "tiny-f2": entry()}
    monkeypatch.setattr(catalogue, "entries", lambda: known)
    return tmp_path / "cache" / "models" / "tiny-f2"


@pytest.fixture
def hub(checkpoint: Path, cache: Path, tmp_path: Path) -> Path:
    """The file as huggingface_hub's cache holds it; its blob."""
    digest, revision = hashlib.sha256(checkpoint.read_bytes()).hexdigest(), "a" * 40
    repository = tmp_path / "hub" / f"models--{HUB.replace('/', '--')}"
    blob, link = repository / "blobs" / digest, repository / "snapshots" / revision / "vq" / "tiny.pt"
    for path in (blob, link, repository / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(checkpoint.read_bytes())
    link.symlink_to(Path("../../..") / "blobs" / digest)
    (repository / "refs" / "main").write_text(revision)
    return blob


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_name_stands_where_a_folder_does(hub: Path, checkpoint: Path, tmp_path: Path) -> None:
    straight = pretrained.load("llamagen", checkpoint, {"codebook_size": 16, "image_size": 32})
    image = tmp_path / "image.png"
    Image.effect_noise((32, 32), 60).convert("RGB").save(image)
    command("evaluate", "tiny-f2", "--data", "photos", "--limit", 2, "--metrics", "psnr", "--out", tmp_path, "--cpu")
    command("reconstruct", "Tiny_F2", image, "--out", tmp_path / "out", "--cpu")
    command("encode", "tiny-f2", "--data", "photos", "--limit", 2, "--out", tmp_path / "codes", "--cpu")
    dry = command("train", "tiny32", "--from", "tiny-f2", "--out", tmp_path / "run", "--dry-run", "--cpu")
    assert "start_from: tiny-f2" in dry and "architecture: llamagen" in dry
    [record] = Store(tmp_path / "runs.jsonl").read()
    assert record.name == "tiny-f2" and record.weights is not None
    assert record.weights["which"] == "published" and record.weights["sha256"] == straight.sha256()
    hub.unlink()  # what was imported stays
    assert Tokenizer.from_pretrained("tiny-f2").sha256() == straight.sha256()
    shown = json.loads(command("models", "show", "tiny-f2", "--json"))
    assert shown["here"]["sha256"] == hub.name and shown["bits_per_image"] == 1024


def test_a_file_of_another_hash_is_refused(hub: Path, cache: Path) -> None:
    hub.write_bytes(hub.read_bytes() + b"\0")
    with pytest.raises(TokbenchError, match=f"should have SHA-256 {hub.name} and has .*remove it and fetch it again"):
        Tokenizer.from_pretrained("tiny-f2")
    assert not (cache / "tokenizer" / "config.json").exists()


def test_offline_it_says_what_to_fetch_and_where_to_put_it(cache: Path, checkpoint: Path) -> None:
    with pytest.raises(TokbenchError) as caught:
        Tokenizer.from_pretrained("tiny-f2")
    told = str(caught.value)
    assert f"https://huggingface.co/{HUB}/blob/main/vq/tiny.pt" in told and str(cache) in told and "\n" not in told
    with pytest.raises(TokbenchError, match=r"fetch last.ckpt and model.yaml from https://heibox\S+ and put it into"):
        Tokenizer.from_pretrained("taming-f16-1024")
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "weights-of-mine.pt").write_bytes(checkpoint.read_bytes())  # by any name, if it is the only one
    first = Tokenizer.from_pretrained("tiny-f2").sha256()
    torch.save(
        {"model": {name: t / 3 for name, t in torch.load(checkpoint)["ema"].items()}}, cache / "weights-of-mine.pt"
    )
    assert Tokenizer.from_pretrained("tiny-f2").sha256() != first  # another file: imported anew
    (cache / "other.pt").write_bytes(b"")
    with pytest.raises(TokbenchError, match="other.pt, weights-of-mine.pt: keep the one that is the model's"):
        Tokenizer.from_pretrained("tiny-f2")


def test_what_is_not_the_model_of_the_catalogue_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny-f2": entry(bits=5)})
    with pytest.raises(TokbenchError, match="a model of 256 positions of 4 bits, and tiny-f2 has 256 of 5"):
        Tokenizer.from_pretrained("tiny-f2")
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny-f2": entry(sha256="0" * 64)})
    with pytest.raises(TokbenchError, match="should have SHA-256 0000"):
        Tokenizer.from_pretrained("tiny-f2")
    with pytest.raises(TokbenchError, match=r"no published model of that name \(did you mean 'tiny-f2'\?\)"):
        Tokenizer.from_pretrained("tiny-f4")
    with pytest.raises(TokbenchError, match=r"no published model of that name \(`tokbench models`\)"):
        Tokenizer.from_pretrained("elsewhere")


def test_entries_say_what_they_are() -> None:
    importers = of_tokenizers()
    for name, one in catalogue.entries().items():
        assert one.importer in importers, name
        assert one.hub or one.url, name
        assert set(one.unverified) >= {key for key in ("sha256", "megabytes") if getattr(one, key) is None}, name
        assert one.hub is None or one.weights is not None, name
        published = one.measured_by_authors()
        if published is not None and published.rate is not None:
            assert published.rate.bits_per_image == pytest.approx(one.bits_per_image), name
    listed = command("models", "list", "--json")
    assert [model["name"] for model in json.loads(listed)] == list(catalogue.entries())
    assert named.origin(catalogue.get("ibq-1024")) is None
