"""Grey samples: every source's are the luma of its RGB ones, under a fingerprint and a protocol of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_pictures import encoded, picture, write_shard
from PIL import Image

from tokbench.config.data import DataConfig
from tokbench.data import loader, open_images, open_split, read_image, to_grey
from tokbench.errors import TokbenchError

pytestmark = pytest.mark.usefixtures("own_hub_cache")


def test_grey_is_pillows_luma_and_grey_stays_itself() -> None:
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    colours = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)  # (3, 18, 324)
    wanted = np.array(Image.fromarray(colours.permute(1, 2, 0).contiguous().numpy()).convert("L"))
    assert torch.equal(to_grey(colours), torch.from_numpy(wanted)[None])
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(to_grey(every.expand(2, 3, 16, 16)), every.expand(2, 1, 16, 16))


def test_a_depth_map_keeps_its_eight_bits(tmp_path: Path) -> None:
    depth = np.arange(64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray((depth * 4).astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((depth * 4 * 257).astype(np.uint16)).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        assert torch.equal(read_image(tmp_path / name, 1)[0], torch.from_numpy((depth * 4).astype(np.uint8)))
        assert read_image(tmp_path / name).shape == (3, 8, 8)


@pytest.fixture
def specs(folder_of: Callable[..., Path], tmp_path: Path) -> dict[str, str]:
    """A spec of every kind that needs no network."""
    import datasets

    folder = folder_of({str(k): k for k in range(8)})
    np.savez(tmp_path / "a.npz", arr_0=np.stack([np.array(picture(k)) for k in range(8)]))
    write_shard(tmp_path / "a.tar", range(8))
    rows = [{"bytes": encoded(picture(k)), "path": f"{k}.png"} for k in range(8)]
    datasets.Dataset.from_dict({"image": rows}).to_parquet(tmp_path / "a.parquet")
    both = {
        "folder": folder, "npz": tmp_path / "a.npz", "webdataset": tmp_path / "a.tar", "parquet": tmp_path / "a.parquet"
    }  # fmt: skip
    found = {kind: f"{kind}:train={path},eval={path}" for kind, path in both.items()}
    return found | {"photos": "photos", "photos:dense": "photos:dense", "cached": f"cached:{found['folder']}"}


@pytest.mark.filterwarnings("ignore:.*images in both splits")
def test_grey_samples_are_the_luma_of_the_rgb_ones(specs: dict[str, str]) -> None:
    for kind, spec in specs.items():
        for split in ("train", "eval"):
            training = split == "train"
            crop = "adm" if kind == "cached" else None
            shape: Any = {"image_size": 8, "flip": training, "seed": 3, "crop": crop, "limit": 8}
            rgb, grey = (open_images(spec, split, channels=c, **shape) for c in (3, 1))  # type: ignore[arg-type]
            for index in (0, 5):
                one, two = rgb.sample(index, epoch=2), grey.sample(index, epoch=2)
                assert two["image"].shape == (1, 8, 8) and two["image"].dtype == torch.uint8
                assert torch.equal(two["image"], to_grey(one["image"])), (kind, split)
                assert two["id"] == one["id"]
            assert grey.fingerprint != rgb.fingerprint and grey.protocol == f"{rgb.protocol}-grey", kind
            told, usual = (images.describe().replace(spec, "") for images in (grey, rgb))
            assert "grey" in told and "grey" not in usual
            batch = next(iter(loader(grey, batch_size=3, shuffle=False, seed=0)))
            assert batch["image"].shape == (3, 1, 8, 8)


def test_a_stream_is_grey_too(specs: dict[str, str], tmp_path: Path) -> None:
    spec = f"webdataset:train={tmp_path}/a.tar:streaming"
    rgb, grey = (
        next(iter(loader(open_images(spec, "train", image_size=8, channels=c), batch_size=4, shuffle=True, seed=1)))
        for c in (3, 1)
    )
    assert grey["id"] == rgb["id"] and torch.equal(grey["image"], to_grey(rgb["image"]))
    stream = open_images(spec, "train", image_size=8, channels=1)
    assert stream.protocol == "random-grey" and "grey" in stream.describe()


def test_a_recipes_channels_are_those_of_its_images() -> None:
    for split in ("train", "eval"):
        images = open_split(DataConfig(image_size=8, channels=1, limit=4, eval_limit=4), split)  # type: ignore[arg-type]
        assert images[0]["image"].shape == (1, 8, 8)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_numbers_are_one_line(channels: int) -> None:
    with pytest.raises(
        TokbenchError, match=rf"^images are read with 3 channels \(RGB\) or 1 \(grey\), not {channels}$"
    ):
        open_images("photos", "eval", image_size=8, channels=channels)
