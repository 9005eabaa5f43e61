"""Encode and decode as programs that need none of this code: the same codes, the same images, any batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import command
from torch import Tensor

from tokbench import pretrained
from tokbench.config.grid import axes
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.registry import all_settings
from tokbench.pretrained import open_magvit2_video

sys.path.append(str(Path(__file__).parents[1] / "models"))
from small_tokenizers import SMALL, make  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own deprecations


def run(folder: Path, form: str, part: str, given: Tensor) -> Tensor:
    if form == "torch":
        made: Tensor = torch.export.load(folder / f"{part}.pt2").module()(given)
        return made
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{part}.onnx", providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0])


@torch.no_grad()
def same_through_programs(tokenizer: Tokenizer, form: str, folder: Path) -> None:
    for batch in (3, 1):
        size, drawn = axes(tokenizer.config.image_size), torch.Generator().manual_seed(batch)
        images = torch.rand(batch, 3, *size, generator=drawn) * 2 - 1
        assert torch.equal(run(folder, form, "encode", images), tokenizer.encode(images))
        sizes = tokenizer.quantizer.codebook_sizes  # of an untrained encoder most codes are the same one
        codes = torch.stack([torch.randint(k, (batch, *tokenizer.grid()), generator=drawn) for k in sizes], dim=-1)
        # emu3's small weights, normalised, bring its own float32 4e-5 from float64
        torch.testing.assert_close(run(folder, form, "decode", codes), tokenizer.decode(codes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_from_the_command_line(form: str, tmp_path: Path) -> None:
    tokenizer = make("pixels", {"name": "fsq", "levels": [5, 4, 3]}).eval()  # tracing a network is slow
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    command("export", tmp_path / "tokenizer", "--to", form, "--out", tmp_path / form)
    same_through_programs(tokenizer, form, tmp_path / form)
    said = json.loads((tmp_path / form / "program.json").read_text())
    assert said["images"] == ["batch", 3, 16, 16] and said["vocabularies"] == [60]
    assert said["codes"] == ["batch", 16, 16, 1] and said["sha256"] == tokenizer.sha256()


def test_importing_checkpoints_loads_nothing_that_only_exporting_needs() -> None:
    code = (
        "import sys, tokbench.pretrained; assert 'titok' in tokbench.pretrained.sources(); "
        "heavy = {'sympy', 'onnx', 'torch._dynamo'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FORMS = {**{name: (name, {}) for name in SMALL}, "open-magvit2-video": ("magvit2-video", open_magvit2_video.FORM)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_architecture(name: str, form: str, tmp_path: Path) -> None:
    assert len(SMALL) >= len(all_settings())
    architecture, settings = FORMS[name]
    tokenizer = make(architecture, **settings).eval()
    pretrained.export(tokenizer, form, tmp_path / form)
    same_through_programs(tokenizer, form, tmp_path / form)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make("pixels").eval()

    def broken(*_: Any) -> Tensor:
        raise RuntimeError("not an operator of ours\nand more")

    monkeypatch.setattr(tokenizer, "decode", broken)
    with pytest.raises(TokbenchError, match="--to torch: this tokenizer cannot be traced: .*") as caught:
        pretrained.export(tokenizer, "torch", tmp_path / "programs")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(TokbenchError, match=r"needs onnxscript: pip install 'tokbench\[onnx\]'"):
        pretrained.export(make("pixels"), "onnx", tmp_path / "programs")
    with pytest.raises(TokbenchError, match=r"unknown format 'onx' \(did you mean 'onnx'\?\)"):
        pretrained.export(tokenizer, "onx", tmp_path / "programs")
    (tmp_path / "full" / "of").mkdir(parents=True)
    other = make("pixels").train()
    with pytest.raises(TokbenchError, match="full: cannot write: Directory not empty"):
        pretrained.export(other, "torch", tmp_path / "full")
    assert other.training and [path.name for path in tmp_path.iterdir()] == ["full"]
