"""``cached:``: the same samples from bytes kept in the cache, and ``bench data`` over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tokbench.data import open_images
from tokbench.data.throughput import measure
from tokbench.errors import TokbenchError


@pytest.fixture
def root(folder_of: Callable[..., Path]) -> Path:
    return folder_of({f"{name}/{k}": k for name in "ab" for k in range(5)})


def test_the_samples_are_the_same(root: Path) -> None:
    spec = f"folder:train={root}"
    settings = {"image_size": 8, "crop": "adm", "flip": True, "seed": 3}
    plain = open_images(spec, "train", **settings)  # type: ignore[arg-type]
    kept = open_images(f"cached:{spec}", "train", **settings)  # type: ignore[arg-type]
    assert kept.classes == plain.classes and kept.fingerprint == plain.fingerprint and kept.protocol == plain.protocol
    for epoch in (0, 1):
        for index in range(10):
            a, b = plain.sample(index, epoch), kept.sample(index, epoch)
            assert a["id"] == b["id"] and a["label"] == b["label"] and torch.equal(a["image"], b["image"])


def test_pictures_are_decoded_once_and_again_when_they_change(root: Path, own_cache: Path) -> None:
    spec = f"cached:folder:train={root}"
    before = open_images(spec, "train", image_size=8, crop="adm")[0]["image"]
    (file,) = (own_cache / "pictures").glob("*.u8")
    made = file.stat().st_mtime_ns
    open_images(spec, "train", image_size=8, crop="adm")
    assert file.stat().st_mtime_ns == made and not list((own_cache / "pictures").glob("*.part"))
    (root / "a" / "0.png").write_bytes((root / "a" / "4.png").read_bytes())
    after = open_images(spec, "train", image_size=8, crop="adm")[0]["image"]
    assert not torch.equal(before, after)
    file.write_bytes(file.read_bytes()[:-1])  # half a file is not trusted
    (root / "a" / "0.png").write_bytes((root / "a" / "4.png").read_bytes())
    assert torch.equal(open_images(spec, "train", image_size=8, crop="adm")[0]["image"], after)


def test_what_was_skipped_is_still_said(root: Path) -> None:
    (root / "a" / "2.png").write_bytes(b"no")
    for _ in range(2):
        kept = open_images(f"cached:folder:eval={root}", "eval", image_size=8)
        assert len(kept) == 9 and [name for name, _ in kept.skipped] == ["a/2.png"]


def test_what_cannot_be_kept_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokbenchError, match="set data.crop to adm"):
        open_images(f"cached:folder:train={root}", "train", image_size=8)
    with pytest.raises(TokbenchError, match="no whole images"):
        open_images("cached:photos", "eval", image_size=8)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(TokbenchError, match="TOKBENCH_CACHE"):
        open_images(f"cached:folder:train={root}", "train", image_size=16, crop="adm")


def test_throughput_counts_pictures() -> None:
    result = measure(open_images("photos", "train", image_size=8, limit=20), batch_size=8, workers=0, seconds=0.05)
    assert result.workers == 0 and result.images > 20 and result.seconds >= 0.05
    assert result.images_per_second == pytest.approx(result.images / result.seconds)


def test_the_command(root: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from tokbench.cli.bench_data import data

    app = typer.Typer()
    app.command()(data)
    (root / "a" / "2.png").write_bytes(b"no")
    arguments = ["--data", f"folder:train={root}", "--image-size", "8", "--workers", "0", "--seconds", "0.1"]
    result = CliRunner().invoke(app, [*arguments, "--need", "1e9"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "9 images" in result.output and "times too slow" in result.output and "a/2.png" in result.output
