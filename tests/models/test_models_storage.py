from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_tokenizers import make

from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

FILES = ["README.md", "config.json", "model.safetensors"]


# The contract of grids stores every architecture with RQ.
@pytest.mark.parametrize("quantizer", ["lfq", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vq", "rq"))])
def test_round_trip(architecture: str, quantizer: str, images: torch.Tensor, tmp_path: Path) -> None:
    options = {"name": quantizer, "codebook_size": 16} | ({"depth": 2} if quantizer == "rq" else {})
    tokenizer = make(architecture, options)
    tokenizer(images)  # moves what training moves
    tokenizer.eval().save_pretrained(tmp_path / "a" / "b")
    again = Tokenizer.from_pretrained(tmp_path / "a" / "b")
    assert again.config == tokenizer.config and again.sha256() == tokenizer.sha256() and not again.training
    assert torch.equal(again.encode(images), tokenizer.encode(images))
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == FILES


def test_saving_again_replaces_and_a_failure_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = make("vqgan"), make("magvit2")
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path)
    assert Tokenizer.from_pretrained(tmp_path).sha256() == second.sha256()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tokbench.models.folder.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        first.save_pretrained(tmp_path)
    assert Tokenizer.from_pretrained(tmp_path).sha256() == second.sha256()
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="no such folder, no published model of that name"):
        Tokenizer.from_pretrained(tmp_path / "missing")
    with pytest.raises(TokbenchError, match="no config.json there"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"x")
    with pytest.raises(TokbenchError, match="tokbench import"):
        Tokenizer.from_pretrained(tmp_path / "last.ckpt")


def test_hub_names_are_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make("vqgan")
    tokenizer.save_pretrained(tmp_path)
    asked = []

    def snapshot_download(name: str, **options: object) -> str:
        asked.append((name, options["revision"], options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert Tokenizer.from_pretrained("someone/tokenizer", revision="v2").sha256() == tokenizer.sha256()
    assert asked == [("someone/tokenizer", "v2", ["config.json", "model.safetensors"])]


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise OSError("offline\nlong story")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(TokbenchError, match="someone/tokenizer: no such folder here, .* offline$"):
        Tokenizer.from_pretrained("someone/tokenizer")


def test_push_uploads_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded = {}

    class Hub:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> object:
            return type("Repository", (), {"repo_id": name})

        def upload_folder(self, repo_id: str, folder_path: str, **_: object) -> object:
            uploaded[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
            return type("Commit", (), {"commit_url": f"hub/{repo_id}"})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert make("vqgan").push_to_hub("someone/tokenizer") == "hub/someone/tokenizer"
    assert uploaded == {"someone/tokenizer": FILES}


def _saved(folder: Path) -> Path:
    make("vqgan").save_pretrained(folder)
    return folder


def test_truncated_weights(tmp_path: Path) -> None:
    weights = _saved(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(TokbenchError, match="not a whole safetensors file"):
        Tokenizer.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(TokbenchError, match="no model.safetensors there"):
        Tokenizer.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = _saved(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    tensors["encoder.stem.bias"] = torch.zeros(9)
    tensors["surplus"] = tensors.pop("decoder.head.bias")
    save_file(tensors, weights)
    with pytest.raises(TokbenchError) as error:
        Tokenizer.from_pretrained(tmp_path)
    message = str(error.value)
    assert "missing: decoder.head.bias" in message and "left over: surplus" in message
    assert "encoder.stem.bias is [9], not [8]" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(architecture="vqgun"), "model: .*vqgun.*vqgan"),
        (lambda c: c["model"].update(chanels=8), "chanels: Extra inputs are not permitted"),
        (lambda c: c.update(image_size=17), "17 is not a multiple of the downsampling 2"),
        (lambda c: c.pop("quantizer"), "quantizer: Field required"),
    ],
)
def test_wrong_configurations(change: object, message: str, tmp_path: Path) -> None:
    path = _saved(tmp_path) / "config.json"
    config = json.loads(path.read_text())
    change(config)  # type: ignore[operator]
    path.write_text(json.dumps(config))
    with pytest.raises(TokbenchError, match=message):
        Tokenizer.from_pretrained(tmp_path)


def test_configuration_is_plain_json(tmp_path: Path) -> None:
    config = json.loads((_saved(tmp_path) / "config.json").read_text())
    assert config["model"]["architecture"] == "vqgan" and config["quantizer"] == {
        "name": "rq",
        "codebook_size": 16,
        "depth": 3,
    }
