"""Images in one file: zip archives as StyleGAN and Kaggle write them, arrays as guided-diffusion does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from data_pictures import encoded, picture

from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError, TokbenchWarning

PNG = encoded(picture(1))


def write_zip(path: Path, files: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_zip_is_read_as_the_folder_that_it_holds(tmp_path: Path, kind: int, workers: int) -> None:
    names = ["d/train/cat/1.png", "d/train/dog/2.png", "d/train/dog/3.png", "d/val/dog/4.png"]
    files = {name: encoded(picture(k)) for k, name in enumerate(names)}
    junk = {"__MACOSX/d/._1.png": PNG, "d/.DS_Store": b"x", "d/train/dog/5.heics": b"x", "d/train/dog/6.png": b""}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    spec = f"zip:{write_zip(tmp_path / 'a.zip', files | junk, kind)}"
    for split in ("train", "eval"):
        unpacked = open_images(f"folder:{tmp_path}/d", split, image_size=8, crop="adm")
        with pytest.warns(TokbenchWarning, match="5.heics") if split == "train" else _nothing():
            images = open_images(spec, split, image_size=8, crop="adm")
        assert images.classes == unpacked.classes == ["cat", "dog"] and len(images) == len(unpacked)
        (mine,) = loader(images, batch_size=4, shuffle=False, seed=0, workers=workers)
        (theirs,) = loader(unpacked, batch_size=4, shuffle=False, seed=0)
        assert torch.equal(mine["image"], theirs["image"]) and mine["label"].tolist() == theirs["label"].tolist()
    assert [name for name, _ in open_images(spec, "train", image_size=8).skipped] == ["dog/5.heics", "dog/6.png"]


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_stylegans_labels(tmp_path: Path, form: str) -> None:
    names = [f"0000{k // 2}/img0000{k // 2}00{k}.png" for k in range(4)]
    files = {name: encoded(picture(k)) for k, name in enumerate(names)}

    def opened(labels: object) -> object:
        all_files = files | {"dataset.json": json.dumps(labels).encode()}
        for name, data in all_files.items():
            (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "f" / name).write_bytes(data)
        path = write_zip(tmp_path / "a.zip", all_files)
        images = open_images(f"{form}:eval={path if form == 'zip' else tmp_path / 'f'}", "eval", image_size=8)
        return images.classes, [images[i]["label"] for i in range(4)]

    assert opened({"labels": [[names[0], 2], [names[1], 0], [names[3], 10]]}) == (
        [str(k) for k in range(11)], [2, 0, -1, 10]
    )  # fmt: skip
    assert opened({"labels": None}) == ([], [-1] * 4)  # and the numbered folders are no classes
    with pytest.warns(TokbenchWarning, match="dataset.json"):
        assert opened({"labels": [[name, [0.1, 0.9]] for name in names]}) == ([], [-1] * 4)
    for wrong in ({"labels": 5}, {"labels": [1]}, {"other": []}):
        with pytest.raises(TokbenchError, match="dataset.json: not"):
            opened(wrong)


def test_a_zips_content_is_known_by_its_checksums(tmp_path: Path) -> None:
    def fingerprint(seed: int) -> str:
        path = write_zip(tmp_path / "a.zip", {"1.bmp": encoded(picture(seed), "BMP")})  # of one size
        return open_images(f"zip:eval={path}", "eval", image_size=8).fingerprint

    assert fingerprint(1) == fingerprint(1) != fingerprint(2)


def test_wrong_zips_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_bytes(b"no zip")
    write_zip(tmp_path / "empty.zip", {"a.txt": b"x"})
    secret = bytearray(write_zip(tmp_path / "secret.zip", {"a.png": PNG}).read_bytes())
    secret[secret.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(secret)
    broken = bytearray(write_zip(tmp_path / "broken.zip", {"a.png": PNG}).read_bytes())
    broken[60] ^= 0xFF
    (tmp_path / "broken.zip").write_bytes(broken)
    for name, message in {
        "gone.zip": "there is no file", "text.zip": "not a readable zip", "empty.zip": "no images in it",
        "secret.zip": "is encrypted", "broken.zip": "a.png: the file is empty or damaged|a.png: the file is empty",
    }.items():  # fmt: skip
        with pytest.raises(TokbenchError, match=message) as caught:
            open_images(f"zip:eval={tmp_path}/{name}", "eval", image_size=8)
        assert "\n" not in str(caught.value)
    with pytest.raises(TokbenchError, match="write zip:.*empty.zip"):
        open_images(f"folder:{tmp_path}/empty.zip", "eval", image_size=8)


def pixels(count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 10, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("workers", [0, 2])
def test_samples_of_guided_diffusion(tmp_path: Path, save: object, workers: int) -> None:
    array, labels = pixels(), np.array([3, 0, -1, 5] * 3)
    save(tmp_path / "a.npz", array, labels)  # type: ignore[operator]
    images = open_images(f"npz:eval={tmp_path}/a.npz", "eval", image_size=8)
    assert len(images) == 12 and images.classes == ["0", "1", "2", "3", "4", "5"] and not images.skipped
    (batch,) = loader(images, batch_size=12, shuffle=False, seed=0, workers=workers)
    assert batch["label"].tolist() == labels.tolist() and batch["id"][3] == "3"
    assert torch.equal(batch["image"], torch.from_numpy(array[:, 1:9]).permute(0, 3, 1, 2))
    sides = [open_images(f"npz:{tmp_path}/a.npz", split, image_size=8) for split in ("train", "eval")]
    assert sum(map(len, sides)) == 12
    save(tmp_path / "b.npz", array)  # type: ignore[operator]
    bare = open_images(f"npz:eval={tmp_path}/b.npz", "eval", image_size=8)
    assert bare.classes == [] and bare[0]["label"] == -1 and bare.fingerprint != images.fingerprint
    cached = open_images(f"cached:npz:eval={tmp_path}/a.npz", "eval", image_size=8)
    assert torch.equal(cached[5]["image"], images[5]["image"]) and cached.fingerprint == images.fingerprint


def test_wrong_arrays_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_bytes(b"no array")
    wrong: dict[str, tuple[dict[str, object], str]] = {
        "float": ({"arr_0": pixels() / 255}, r"arr_0 is float64 \(12, 10, 8, 3\)"),
        "channels first": ({"arr_0": pixels().transpose(0, 3, 1, 2)}, r"not a plain array|uint8 \(12, 3, 10, 8\)"),
        "names": ({"images": pixels()}, r"no arr_0.*it has: images"),
        "labels": ({"arr_0": pixels(), "arr_1": np.arange(3)}, r"arr_1 is int64 \(3,\)"),
        "one hot": ({"arr_0": pixels(), "arr_1": np.eye(12)}, r"arr_1 is float64 \(12, 12\)"),
        "objects": ({"arr_0": np.array([None, {}])}, "not a plain array|pickle"),
        "none": ({"arr_0": pixels(0)}, r"uint8 \(0, 10, 8, 3\)"),
        "text": ({}, "not a readable .npz"),
        "gone": ({}, "there is no file"),
    }
    for name, (arrays, message) in wrong.items():
        for save in (np.savez, np.savez_compressed):
            if arrays:
                save(tmp_path / f"{name}.npz", **arrays)
            with pytest.raises(TokbenchError, match=message) as caught:
                open_images(f"npz:eval={tmp_path}/{name}.npz", "eval", image_size=8)
            assert "\n" not in str(caught.value) and f"{name}.npz" in str(caught.value)
