"""Fingerprints change when a sample does, and what is kept under them is not taken for something else."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from data_pictures import encoded, picture

from tokbench.codes.encoding import already_written, write_codes
from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.data import whole as whole_module
from tokbench.errors import TokbenchError
from tokbench.metrics import reference_cache
from tokbench.models import Tokenizer

pytestmark = pytest.mark.usefixtures("own_hub_cache", "own_cache")
COUNT = 80  # more than are looked at where not all are


def rewrite(path: Path, data: bytes) -> None:
    """Other bytes in place: name, size and time stay."""
    before = path.stat()
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def bitmap(seed: int) -> bytes:
    return encoded(picture(seed, 16, 16), "BMP")


def folder(root: Path, seeds: dict[str, int]) -> str:
    for name, seed in seeds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bitmap(seed))
    return f"folder:{{split}}={root}"


def parquet(path: Path, seeds: list[int], labels: list[int]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [bitmap(seed) for seed in seeds], "label": labels})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    return f"parquet:{{split}}={path}"


def shard(path: Path, seeds: list[int], labels: list[int]) -> str:
    with tarfile.open(path, "w") as archive:
        for key, (seed, label) in enumerate(zip(seeds, labels, strict=True)):
            for extension, data in (("bmp", bitmap(seed)), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{key:03d}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return f"webdataset:{{split}}={path}"


def changed(make: Callable[..., str], path: Path, *after: Any) -> None:
    """Make the file anew, with the time of the one before it."""
    time = path.stat()
    make(path, *after)
    os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))


def seen(spec: str, split: str) -> tuple[str, torch.Tensor, list[int]]:
    images = open_images(spec.format(split=split), split, image_size=16, crop="adm")  # type: ignore[arg-type]
    samples = [images[k] for k in range(len(images))]
    return images.fingerprint, torch.stack([s["image"] for s in samples]), [s["label"] for s in samples]


@pytest.mark.parametrize("kept", ["", "cached:"])
@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("make", [parquet, shard])
def test_another_picture_or_label_in_a_file_of_the_same_size_and_time(
    make: Callable[..., str], split: str, kept: str, tmp_path: Path
) -> None:
    seeds, labels = list(range(COUNT)), [k % 3 for k in range(COUNT)]
    path = tmp_path / "file"
    spec = kept + make(path, seeds, labels)
    first = seen(spec, split)
    assert seen(spec, split)[0] == first[0]
    changed(make, path, [*seeds[:7], 700, *seeds[8:]], labels)
    second = seen(spec, split)
    assert not torch.equal(first[1][7], second[1][7]) and torch.equal(first[1][8], second[1][8])
    changed(make, path, seeds, [*labels[:9], 2, *labels[10:]])
    third = seen(spec, split)
    assert third[2][9] == 2 != first[2][9] and torch.equal(third[1], first[1])
    assert len({first[0], second[0], third[0]}) == 3
    changed(make, path, seeds, labels)
    assert seen(spec, split)[0] == first[0]


@pytest.mark.parametrize("kept", ["", "cached:"])
def test_a_folder_in_the_layout_of_the_hub(kept: str, tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    seeds, labels = list(range(COUNT)), [0] * COUNT
    for split in ("train", "test"):
        parquet(data / f"{split}-00000-of-00001.parquet", seeds, labels)
    spec = f"{kept}hub:{tmp_path / 'set'}"
    first = seen(spec, "eval")
    assert seen(spec, "eval")[0] == first[0]
    changed(parquet, data / "test-00000-of-00001.parquet", [*seeds[:7], 700, *seeds[8:]], [1, *labels[1:]])
    second = seen(spec, "eval")
    assert second[0] != first[0] and not torch.equal(first[1][7], second[1][7]) and second[2][0] == 1


@pytest.mark.parametrize("kept", ["", "cached:"])
def test_a_folder_whose_files_have_equal_names_and_sizes(kept: str, tmp_path: Path) -> None:
    names = {f"{name}/{k}.bmp": k for name in "ab" for k in range(3)}
    spec = kept + folder(tmp_path / "one", names)
    first = seen(spec, "eval")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copy = f"{kept}folder:eval={tmp_path / 'two'}"
    assert seen(copy, "eval")[0] == first[0]
    os.utime(tmp_path / "two" / "a" / "1.bmp")
    assert seen(copy, "eval")[0] == first[0]
    rewrite(tmp_path / "two" / "a" / "1.bmp", bitmap(50))
    second = seen(copy, "eval")
    assert second[0] != first[0] and not torch.equal(second[1][1], first[1][1])
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    third = seen(copy, "eval")
    assert third[0] not in (first[0], second[0]) and torch.equal(third[1], second[1])
    space: Any = SimpleNamespace(name="space", digest="d")
    sets = [open_images(s.format(split="eval"), "eval", image_size=16) for s in (spec, copy)]
    paths = [reference_cache.path_of(images, "protocol", space) for images in sets]
    assert paths[0] != paths[1]


def test_a_class_that_shifts_the_labels_of_the_other_split(tmp_path: Path) -> None:
    root = tmp_path / "set"
    folder(root / "val", {"b/1.bmp": 1, "c/2.bmp": 2})
    folder(root / "train", {"b/3.bmp": 3, "c/4.bmp": 4})
    spec = f"folder:{root}"
    first = seen(spec, "eval")
    folder(root / "train", {"a/5.bmp": 5})
    second = seen(spec, "eval")
    assert (first[2], second[2]) == ([0, 1], [1, 2]) and first[0] != second[0]


def test_large_training_sets_count_by_names_sizes_times_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_module, "CHECKED_TRAINING_PICTURES", 2)
    spec = folder(tmp_path / "set", {f"a/{k}.bmp": k for k in range(4)})
    first = seen(spec, "train")[0]
    assert seen(spec, "train")[0] == first
    (tmp_path / "set" / "a" / "1.bmp").write_bytes(bitmap(9))
    assert seen(spec, "train")[0] != first
    kept = f"cached:{spec}"
    before = seen(kept, "train")[1]
    rewrite(tmp_path / "set" / "a" / "2.bmp", bitmap(8))
    assert not torch.equal(seen(kept, "train")[1], before)
    path = tmp_path / "file"
    spec = parquet(path, [1, 2, 3], [0, 1, 2])
    first = seen(spec, "train")[0]
    changed(parquet, path, [1, 2, 3], [0, 2, 2])
    assert seen(spec, "train")[0] != first


def test_a_stream_of_shards_at_hand(tmp_path: Path) -> None:
    def fingerprint() -> str:
        spec = f"webdataset:train={tmp_path / 'a.tar'},eval={tmp_path / 'a.tar'}:streaming"
        return open_images(spec, "train", image_size=16).fingerprint

    shard(tmp_path / "a.tar", [1, 2], [0, 1])
    first = fingerprint()
    assert fingerprint() == first
    changed(shard, tmp_path / "a.tar", [1, 2], [1, 1])
    assert fingerprint() != first


def test_codes_of_other_pictures_are_not_taken_for_done(tmp_path: Path) -> None:
    config = {"image_size": 16, "model": {"architecture": "vqgan", "channels": 8, "multipliers": [1, 2]},
              "quantizer": {"name": "lfq", "codebook_size": 16}}  # fmt: skip
    tokenizer = Tokenizer(TokenizerConfig.model_validate(config))
    spec = folder(tmp_path / "set", {f"{k}.bmp": k for k in range(3)}).format(split="eval")
    images = open_images(spec, "eval", image_size=16)
    write_codes(tokenizer.eval(), images, tmp_path / "codes" / "eval", source="made")
    assert already_written(tokenizer, images, tmp_path / "codes", source="made") == 3
    rewrite(tmp_path / "set" / "1.bmp", bitmap(40))
    images = open_images(spec, "eval", image_size=16)
    with pytest.raises(TokbenchError, match="of other settings, images or another tokenizer"):
        already_written(tokenizer, images, tmp_path / "codes", source="made")
