"""The built-in photographs: there, held out whole, the same every time."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch

from tokbench.data import ImageDataset, open_images
from tokbench.data.photos import PHOTOGRAPHS, DensePhotos, EvalPhotos, TrainPhotos
from tokbench.errors import TokbenchError


@pytest.fixture(scope="module")
def train() -> ImageDataset:
    return open_images("photos", "train", image_size=32, flip=True, seed=1)


def test_every_photograph_is_in_the_installed_packages() -> None:
    assert all(photo.file().stat().st_size > 10_000 for photo in PHOTOGRAPHS)
    hashes = {photo.file().read_bytes() for photo in PHOTOGRAPHS}
    assert len(hashes) == len(PHOTOGRAPHS)


def test_whole_photographs_are_held_out(train: ImageDataset) -> None:
    held_out = open_images("photos", "eval", image_size=32)
    seen = {train.sample(i, epoch)["id"].split("@")[0] for i in range(300) for epoch in (0, 1)}
    kept = {held_out[i]["id"].split("@")[0] for i in range(len(held_out))}
    assert seen == {p.name for p in PHOTOGRAPHS if p.split == "train"}
    assert kept == {p.name for p in PHOTOGRAPHS if p.split == "eval"}
    assert not seen & kept


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("photos tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(open_images("photos", "eval", image_size=16)) > 0


def test_a_crop_is_a_function_of_seed_epoch_and_index(train: ImageDataset) -> None:
    again = open_images("photos", "train", image_size=32, flip=True, seed=1)
    other = open_images("photos", "train", image_size=32, flip=True, seed=2)
    for index in (0, 7, 2047):
        a, b = train.sample(index, 5), again.sample(index, 5)
        assert a["id"] == b["id"] and torch.equal(a["image"], b["image"])
        assert not torch.equal(a["image"], other.sample(index, 5)["image"])
        assert not torch.equal(a["image"], train.sample(index, 6)["image"])


def test_samples_are_uint8_squares_and_flips_are_half(train: ImageDataset) -> None:
    plain = open_images("photos", "train", image_size=32, flip=False, seed=1)
    flipped = 0
    for index in range(200):
        sample, straight = train[index], plain[index]["image"]
        assert sample["image"].dtype == torch.uint8 and sample["image"].shape == (3, 32, 32) and sample["label"] == -1
        if torch.equal(sample["image"], straight.flip(-1)):
            flipped += not torch.equal(sample["image"], straight)
        else:
            assert torch.equal(sample["image"], straight)
    assert 70 < flipped < 130


def test_the_grid_covers_each_photograph_at_every_scale() -> None:
    held_out = open_images("photos", "eval", image_size=64)
    assert isinstance(held_out, EvalPhotos)
    assert 64 <= len(held_out) <= 128
    for levels in held_out.levels:
        for level in levels:
            covered = np.zeros(level.pixels.shape[1:], bool)
            for other, top, left in held_out.crops:
                if other is level:
                    covered[top : top + 64, left : left + 64] = True
            assert covered.all()
    first = [held_out[i]["id"].split("@")[0] for i in range(6)]
    assert len(set(first[:3])) == 3 and first[:3] == first[3:]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_dense_crops_are_enough_for_a_full_covariance(size: int) -> None:
    """FID's 2,048 features need 2,049 images; all of them different crops of photographs that are held out."""
    dense = open_images("photos:dense", "eval", image_size=size)
    assert isinstance(dense, DensePhotos)
    assert len(dense) == len({level.name(top, left) for level, top, left in dense.crops}) == 2304
    photos = [level.photo for level, _, _ in dense.crops]
    held_out = {p.name for p in PHOTOGRAPHS if p.split == "eval"}
    assert {name: photos.count(name) for name in held_out} == dict.fromkeys(held_out, 768)
    for every in (1, 100, 288):  # whatever few are looked at are not all of one
        assert len(set(photos[: 8 * every : every])) > 1
    for level, top, left in dense.crops:
        assert 0 <= top <= level.pixels.shape[1] - size and 0 <= left <= level.pixels.shape[2] - size


def test_dense_crops_are_the_same_every_time() -> None:
    one, two = (open_images("photos:dense", "eval", image_size=32) for _ in range(2))
    for index in (0, 1000, 2303):
        assert one[index]["id"] == two[index]["id"] and torch.equal(one[index]["image"], two[index]["image"])
    assert one.fingerprint == two.fingerprint != open_images("photos", "eval", image_size=32).fingerprint
    assert (one.source, one.protocol) == ("photos:dense", "tokbench-v1")
    assert len(open_images("photos:dense", "eval", image_size=32, limit=20)) == 20


def test_dense_trains_on_what_photos_trains_on(train: ImageDataset) -> None:
    dense = open_images("photos:dense", "train", image_size=32, flip=True, seed=1)
    assert dense.source == "photos:dense" and len(dense) == len(train) and dense.fingerprint == train.fingerprint
    assert torch.equal(dense.sample(7, 3)["image"], train.sample(7, 3)["image"])


def test_limits_and_sizes() -> None:
    assert len(open_images("photos", "train", image_size=16)) == 2048
    assert len(open_images("photos", "train", image_size=16, limit=10)) == 10
    limited, whole = (open_images("photos", "eval", image_size=64, limit=n) for n in (12, None))
    ids = [limited[i]["id"] for i in range(len(limited))]
    assert len(set(ids)) == 12 and set(ids) <= {whole[i]["id"] for i in range(len(whole))}
    large = open_images("photos", "train", image_size=600)  # more than some photographs have: enlarged, not refused
    assert large[0]["image"].shape == (3, 600, 600)


def test_fingerprints_tell_settings_apart(train: ImageDataset) -> None:
    def fingerprint(split: str, **settings: object) -> str:
        return open_images("photos", split, image_size=32, **settings).fingerprint  # type: ignore[arg-type]

    assert train.fingerprint == fingerprint("train", flip=True, seed=1)
    others = [fingerprint("eval"), fingerprint("eval", limit=5), fingerprint("train"), fingerprint("train", seed=1)]
    assert len({train.fingerprint, *others}) == 5
    assert train.protocol == "tokbench-v1" or isinstance(train, TrainPhotos)
    assert open_images("photos", "eval", image_size=32).protocol == "tokbench-v1"


@pytest.mark.parametrize(
    "source, settings, message",
    [
        ("photo", {}, "did you mean 'photos'"),
        ("photos:x", {}, "use photos or photos:dense"),
        ("photos:", {}, "use photos or photos:dense"),
        ("folder", {}, "use folder:PATH"),
        ("photos", {"crop": "taming"}, "leave it out"),
        ("photos", {"limit": 0}, "at least 1"),
    ],
)
def test_wrong_specs_are_one_line(source: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(TokbenchError, match=message) as caught:
        open_images(source, "train", image_size=16, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
