"""Crops against hand-worked steps, against torchvision, and as pure functions of their draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tokbench import splitmix
from tokbench.config.crop import CROPS, PROTOCOLS
from tokbench.config.data import DataConfig
from tokbench.data import open_split
from tokbench.data.adm import adm_center_crop
from tokbench.data.crops import View, bilinear_center_crop, center_crop, random_crop, random_cut, taming_center_crop
from tokbench.data.draws import below, uniforms
from tokbench.errors import TokbenchError

BOX, BICUBIC = Image.Resampling.BOX, Image.Resampling.BICUBIC


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_adm_by_hand() -> None:
    """500x375 to 64: halved to 250x187 and 125x93, bicubic by 64/93 to 86x64, columns 11 to 75."""
    image = noise(500, 375)
    expected = image.resize((250, 187), BOX).resize((125, 93), BOX).resize((86, 64), BICUBIC).crop((11, 0, 75, 64))
    assert np.array_equal(adm_center_crop(image, 64), expected)


def test_adm_halves_exactly_at_twice_the_size_and_enlarges_small_pictures() -> None:
    image = noise(128, 128)
    assert np.array_equal(adm_center_crop(image, 64), image.resize((64, 64), BOX))
    assert np.array_equal(adm_center_crop(noise(64, 64), 64), noise(64, 64))
    assert adm_center_crop(noise(1, 1), 64).size == (64, 64)


@pytest.mark.parametrize("size", [(101, 77), (77, 101), (64, 64), (65, 64), (40, 30), (333, 64)])
def test_bilinear_is_torchvisions(size: tuple[int, int]) -> None:
    from torchvision.transforms import v2

    image = noise(*size)
    theirs = v2.Compose([v2.Resize(64), v2.CenterCrop(64)])(image)
    assert np.array_equal(bilinear_center_crop(image, 64), theirs)


def test_taming_does_not_antialias() -> None:
    """Half the size: the mean of neighbours. A quarter: only the two inner ones of four are looked at."""
    columns = np.tile(np.array([0, 100, 0, 100], np.uint8), (4, 1))
    image = Image.fromarray(np.repeat(columns[:, :, None], 3, 2))
    assert np.unique(np.asarray(taming_center_crop(image, 2))).tolist() == [50]
    edge = np.zeros((4, 4, 3), np.uint8)
    edge[:, 0] = 200  # lies outside what a single interpolated sample in the middle sees
    assert np.unique(np.asarray(taming_center_crop(Image.fromarray(edge), 1))).tolist() == [0]
    assert np.asarray(center_crop(Image.fromarray(edge), 1)).max() > 0


@pytest.mark.parametrize("name", sorted(set(CROPS) - {"none", "cut"}))
@pytest.mark.parametrize("size", [(1, 1), (9, 31), (31, 9), (64, 48), (130, 257)])
def test_every_crop_gives_the_square(name: str, size: tuple[int, int]) -> None:
    assert CROPS.get(name)(noise(*size), 16).size == (16, 16)


@pytest.mark.parametrize("name", sorted(set(CROPS) - {"none"}))
def test_every_crop_leaves_a_picture_of_the_size_alone(name: str) -> None:
    assert np.array_equal(CROPS.get(name)(noise(32, 32), 32), noise(32, 32))


def test_protocols_name_crops() -> None:
    assert {PROTOCOLS.get(name).crop for name in PROTOCOLS} == set(CROPS)
    assert View(8, "adm").protocol == "tokbench-v1" and View(8, "bilinear").protocol == "rqvae"
    assert {name: PROTOCOLS.get(name).crop for name in ("llamagen", "adm", "taming")} == {
        "llamagen": "adm",
        "adm": "adm",
        "taming": "taming",
    }


def test_cuts_keep_the_scale_of_the_image() -> None:
    """The middle for measuring, for training any place: both ends are reached, and a pixel stays what it is."""
    image = noise(40, 30)
    assert np.array_equal(CROPS.get("cut")(image, (16, 24)), image.crop((8, 7, 32, 23)))
    assert np.array_equal(random_cut(image, 16, (0.0, 0.9999)), image.crop((24, 0, 40, 16)))
    view = View(16, "random-cut", True, 1)
    places = [np.asarray(view(image, epoch, 3)).tobytes() for epoch in range(20)]
    assert len(set(places)) > 15 and places[4] == np.asarray(View(16, "random-cut", True, 1)(image, 4, 3)).tobytes()
    for crop in ("cut", "random-cut"):
        with pytest.raises(ValueError, match="is 30x40 .height x width., and the crop takes 32x16 of it"):
            View((32, 16), crop).examine(image)
        assert View(16, crop).examines != View(16, "none").examines  # remembered apart


@pytest.mark.parametrize("source", ["photos", "folder"])
def test_what_is_trained_on_cuts_is_measured_on_cuts(source: str, tmp_path: Path) -> None:
    for k in range(12):
        place = tmp_path / "folder" / ("val" if k % 3 == 0 else "train") / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise(20 + k, 30).save(place)
    spec = "photos" if source == "photos" else f"folder:{tmp_path}/folder"
    data = DataConfig(source=spec, image_size=16, crop="random-cut", limit=6, eval_limit=3)
    assert open_split(data, "eval").protocol == "cut" and open_split(data, "train").protocol == "random-cut"
    held_out = open_split(data.model_copy(update={"validation": 0.25}), "eval")
    assert held_out.protocol == "cut" and held_out[0]["image"].shape == (3, 16, 16)
    assert open_split(data, "train")[0]["image"].shape == (3, 16, 16)


def test_random_crop_keeps_its_range() -> None:
    """Both ends of the scale are reached: the whole height at 1, four fifths of it at 1/0.8."""
    image = noise(100, 100)
    assert np.array_equal(random_crop(image, 80, (0.0, 0.5, 0.5)), image.resize((80, 80), BICUBIC))
    assert np.array_equal(random_crop(image, 80, (0.9999, 0.0, 0.9999)), image.crop((20, 0, 100, 80)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6), index=st.integers(0, 2**63), flip=st.booleans())
def test_a_view_is_a_pure_function(seed: int, epoch: int, index: int, flip: bool) -> None:
    view = View(16, "random", flip, seed)
    image = picture(3)
    torch.manual_seed(index % 1000)
    before = torch.get_rng_state()
    first, second = view(image, epoch, index), View(16, "random", flip, seed)(image, epoch, index)
    assert np.array_equal(first, second) and first.size == (16, 16)
    assert torch.equal(before, torch.get_rng_state())


def test_draws_are_uniform_and_differ() -> None:
    numbers = np.array([uniforms(3, 1, epoch, index) for epoch in range(20) for index in range(200)])
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01 and abs(numbers.std() - 12**-0.5) < 0.01
    assert len(np.unique(numbers)) == numbers.size
    assert abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.06
    assert uniforms(1, 0, 1, 2) != uniforms(1, 0, 2, 1) != uniforms(1, 1, 0, 2)
    assert [below(4, u) for u in (0.0, 0.25, 0.9999999999999999)] == [0, 1, 3]


def test_splitmix64_reference_values() -> None:
    """First outputs of SplitMix64 from state 0 (the published test vector of the reference implementation)."""
    states = [(i * splitmix.GOLDEN) & splitmix.MASK for i in (1, 2, 3)]
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [splitmix.mix(state) for state in states] == published
    of_tensor = splitmix.mix_all(torch.tensor([splitmix.signed(state) for state in states]))
    assert of_tensor.tolist() == [splitmix.signed(value) for value in published]
    many = torch.arange(10_000) * splitmix.signed(splitmix.GOLDEN)
    assert torch.equal(splitmix.top_bits(many, 31), splitmix.mix_all(many) >> 33 & 2**31 - 1)


def test_wrong_views_are_one_line() -> None:
    with pytest.raises(TokbenchError, match="image_size"):
        View(0, "adm")
    with pytest.raises(TokbenchError, match="did you mean 'taming'"):
        View(8, "tamming")


@pytest.mark.parametrize("size", [(12, 31), (40, 7), (1, 64)])
def test_two_different_sides_are_covered_and_cropped(size: tuple[int, int]) -> None:
    for width, height in ((1, 1), (99, 20), (20, 99), (31, 12), (200, 300)):
        image = noise(width, height)
        for crop in (
            *(CROPS.get(name) for name in CROPS if name not in ("none", "cut")),
            lambda i, s: random_crop(i, s, (0.9, 0.1, 0.9)),
        ):
            assert crop(image, size).size == size[::-1]
    assert CROPS.get("none")(noise(size[1], size[0]), size).size == size[::-1]
    with pytest.raises(ValueError, match=f"takes only {size[0]}x{size[1]}"):
        CROPS.get("none")(noise(*size), size)
