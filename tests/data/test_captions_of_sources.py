"""Captions are the same texts wherever a data set keeps them, and a missing or damaged one costs its image alone."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tokbench.cli.tokenizer_text import train
from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError

COLOURS = {"red heart": (255, 0, 0), "blue sea": (0, 0, 255), "night": (0, 0, 0), "grüner Tee": (0, 128, 0)}


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "PNG")
    return file.getvalue()


def members() -> dict[str, bytes]:
    """Four images with captions, kept in four ways, and four whose caption is missing, empty or damaged."""
    found: dict[str, bytes] = {}
    ends = (
        lambda text: {".txt": f" {text}\n".encode()},
        lambda text: {".json": json.dumps({"width": 16, "caption": text}).encode()},
        lambda text: {".txt": f"\ufeff{text}".encode(), ".json": json.dumps({"caption": "another"}).encode()},
        lambda text: {".json": json.dumps({"captions": [{"text": text}, {"text": "the second"}]}).encode()},
    )
    for number, ((text, colour), end) in enumerate(zip(COLOURS.items(), ends, strict=True)):
        found |= {f"{number}.png": png(colour)} | {f"{number}{suffix}": data for suffix, data in end(text).items()}
    bad = ({}, {".txt": b" \n"}, {".txt": b"\xff\xfe"}, {".json": b"{"})
    for number, end in enumerate(bad, start=4):
        found |= {f"{number}.png": png((9, 9, 9))} | {f"{number}{suffix}": data for suffix, data in end.items()}
    return found


def folder(path: Path, files: dict[str, bytes]) -> str:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return f"folder:eval={path}"


def archive(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return f"zip:eval={path.with_suffix('.zip')}"


def shard(path: Path, files: dict[str, bytes], split: str = "eval") -> str:
    with tarfile.open(path.with_suffix(".tar"), "w") as made:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return f"webdataset:{split}={path.with_suffix('.tar')}"


@pytest.mark.parametrize("store", [folder, archive, shard])
def test_captions_beside_images(store: Any, tmp_path: Path) -> None:
    images = open_images(store(tmp_path / "set", members()), "eval", image_size=16)
    before = images.fingerprint
    images.read_captions()
    batch = next(iter(loader(images, batch_size=8, shuffle=True, seed=1)))
    seen = {text: tuple(image[:, 0, 0].tolist()) for text, image in zip(batch["text"], batch["image"], strict=True)}
    assert seen == COLOURS and images.fingerprint != before
    reasons = [reason for _, reason in images.skipped]
    assert reasons[:2] == ["no caption"] * 2
    assert reasons[2].endswith("6.txt: is not UTF-8") and reasons[3].endswith("7.json: is not JSON")


@pytest.mark.parametrize("store", [folder, archive, shard])
def test_a_caption_of_megabytes_is_not_read(store: Any, tmp_path: Path) -> None:
    files = {"0.png": png((1, 1, 1)), "0.txt": b"word " * 300_000, "1.png": png((2, 2, 2)), "1.txt": b"two"}
    images = open_images(store(tmp_path / "set", files), "eval", image_size=16)
    images.read_captions()
    assert images.captions == ["two"] and images.skipped[0][1].endswith("0.txt: is larger than 1 MiB")


def test_captions_of_a_stream(tmp_path: Path) -> None:
    good = {name: data for name, data in members().items() if name[0] in "0" or name.startswith(("2.png", "2.txt"))}
    good |= {"1.png": png((0, 0, 255)), "1.txt": b"blue sea", "3.png": png((9, 9, 9)), "3.txt": b" "}
    source = shard(tmp_path / "set", dict(sorted(good.items())), "train")
    images: Any = open_images(f"{source}:streaming", "train", image_size=16)
    before = images.fingerprint
    images.read_captions()
    assert images.fingerprint != before
    batches = list(loader(images, batch_size=4, shuffle=False, seed=0))
    pairs = [pair for batch in batches for pair in zip(batch["text"], batch["image"], strict=True)]
    assert len(pairs) == 4 and all(COLOURS[text] == tuple(image[:, 0, 0].tolist()) for text, image in pairs)
    assert [reason for _, reason in images.skipped] == ["no caption"]
    held = open_images(f"{source.replace('train=', 'eval=')}:streaming", "eval", image_size=16, limit=3)
    held.read_captions()
    assert held.captions == ["red heart", "blue sea", "night"]
    with pytest.raises(TokbenchError, match="leave :streaming out"):
        train(f"{source}:streaming")


def test_a_stream_without_captions_is_one_line(tmp_path: Path) -> None:
    source = shard(tmp_path / "set", {"0.png": png((1, 1, 1)), "1.png": png((2, 2, 2))}, "train")
    images: Any = open_images(f"{source}:streaming", "train", image_size=16)
    with pytest.raises(TokbenchError, match="no column called caption.* has captions"):
        images.read_captions()


def test_captions_of_a_hub_set(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "set").mkdir()
    rows = {
        "image": [{"bytes": png(colour), "path": None} for colour in COLOURS.values()],
        "Caption": [[text, "the second"] for text in COLOURS],
    }
    for name in ("train", "test"):
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "set" / f"{name}.parquet")
    images = open_images(f"hub:{tmp_path / 'set'}", "eval", image_size=16)
    images.read_captions()
    assert images.captions == list(COLOURS)
