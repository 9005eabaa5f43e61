"""Published models by name, and what is said where one cannot be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fake_hub import HUB, command, entry
from PIL import Image
from safetensors.torch import save_file

from tokbench import pretrained
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained import catalogue, named
from tokbench.pretrained.importer import of_tokenizers
from tokbench.results.store import Store


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
    assert told == (
        "tiny-f2: the hub did not give it (HF_HUB_OFFLINE is set): fetch "
        f"https://huggingface.co/{HUB}/resolve/main/vq/tiny.pt and put it into {cache}"
    )
    with pytest.raises(TokbenchError, match=r"fetch last.ckpt and model.yaml from https://heibox\S+ and put them into"):
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


def test_a_hub_that_is_not_there_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("tokbench.hub.answers", lambda endpoint: False)
    with pytest.raises(TokbenchError, match=r"^tiny-f2: the hub did not give it \(no connection\): fetch "):
        Tokenizer.from_pretrained("tiny-f2")
    monkeypatch.chdir(cache.parents[2])
    Path("runs").mkdir()
    told = r"here \(runs is here, without it\), and the hub did not give it: no connection$"
    with pytest.raises(TokbenchError, match=told):
        Tokenizer.from_pretrained("runs/tokenizer")
    assert constants.HF_HUB_OFFLINE is False


def test_weights_in_parts_are_taken_by_their_index_and_files_where_the_repository_has_them(
    cache: Path, checkpoint: Path
) -> None:
    (cache / "vq").mkdir(parents=True)
    (cache / "vq" / "tiny.pt").write_bytes(checkpoint.read_bytes())
    whole = Tokenizer.from_pretrained("tiny-f2").sha256()
    (cache / "vq" / "tiny.pt").unlink()
    tensors = list(torch.load(checkpoint)["ema"].items())
    where = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in part}, cache / name)
        where |= {key: name for key, _ in part}
    shutil.rmtree(cache / "tokenizer")
    with pytest.raises(TokbenchError, match=r"parts of a model; put the index of them \(\*.index.json\) beside them"):
        Tokenizer.from_pretrained("tiny-f2")
    (cache / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert Tokenizer.from_pretrained("tiny-f2").sha256() == whole


def test_what_was_imported_is_made_again_where_it_is_not_whole_and_read_where_nothing_can_be_written(
    hub: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Tokenizer.from_pretrained("tiny-f2").sha256()
    (cache / "tokenizer" / "model.safetensors").write_bytes(b"cut")
    assert Tokenizer.from_pretrained("tiny-f2").sha256() == first

    def read_only(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(named, "locked", read_only)
        assert Tokenizer.from_pretrained("tiny-f2").sha256() == first
        (cache / "tokenizer" / "config.json").unlink()
        with pytest.raises(TokbenchError, match=r"tiny-f2: cannot be written: Permission denied; TOKBENCH_CACHE says"):
            Tokenizer.from_pretrained("tiny-f2")
    monkeypatch.setenv("TOKBENCH_CACHE", str(hub))
    with pytest.raises(TokbenchError, match=r"tiny-f2: cannot be written: Not a directory"):
        Tokenizer.from_pretrained("tiny-f2")
    with pytest.raises(TokbenchError, match=r"^x+ \.\.\.: File name too long$"):
        Tokenizer.from_pretrained("x" * 5000)


def test_what_is_not_the_model_of_the_catalogue_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny-f2": entry(bits=5)})
    with pytest.raises(TokbenchError, match="a model of 256 positions of 4 bits, and tiny-f2 has 256 of 5"):
        Tokenizer.from_pretrained("tiny-f2")
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny-f2": entry(sha256="0" * 64)})
    with pytest.raises(TokbenchError, match="should have SHA-256 0000"):
        Tokenizer.from_pretrained("tiny-f2")
    with pytest.raises(TokbenchError, match=r"no published model of that name \(did you mean 'tiny-f2'\?\)"):
        Tokenizer.from_pretrained("tiny-f4")
    with pytest.raises(TokbenchError, match=r"no published model of that name \(did you mean 'tiny-f2'\?\)"):
        Tokenizer.from_pretrained("Tiny_")
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
