"""IBQ, whose checkpoints have taming's names and other codes; and what decides between sources that share names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import official
import pytest
import torch
import yaml
from official import SMALL, dotless, refusal
from torch import Tensor

from tokbench import pretrained
from tokbench.pretrained.exporter import official_layout

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return official_layout(official.tokenizer(SMALL, official.GRADIENT), "taming")[0]


def lightning_cli(state: State, folder: Path, name: str, **changes: Any) -> tuple[Path, Path]:
    """A checkpoint with LitEma's averages and a YAML that names the class."""
    made = official.tokenizer(SMALL, official.GRADIENT)
    ddconfig = official_layout(made, "taming")[1]["model"]["params"]["ddconfig"]
    settings = {"ddconfig": ddconfig, "n_embed": 20, "embed_dim": 6, "use_entropy_loss": True, **changes}
    (folder / "c.yaml").write_text(yaml.safe_dump({"model": {"class_path": name, "init_args": settings}}))
    torch.save({"state_dict": {**state, **dotless(state), "model_ema.decay": torch.tensor(0.9)}}, folder / "c.ckpt")
    return folder / "c.ckpt", folder / "c.yaml"


IBQ = "src.IBQ.models.ibqgan.IBQ"


@pytest.mark.parametrize("source", [None, "ibq"])
def test_ibqs_codes_are_the_largest_inner_products(source: str | None, state: State, tmp_path: Path) -> None:
    made, report = pretrained.read(source, *lightning_cli(state, tmp_path, IBQ))
    assert made.config.quantizer.name == report.source == "ibq" and "EMA" in report.weights
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        products = torch.einsum("bdhw,nd->bnhw", made.latents(images), state["quantize.embedding.weight"])
    assert torch.equal(made.encode(images)[..., 0], products.argmax(1))


def test_an_importer_that_is_not_sure_refuses(state: State, tmp_path: Path) -> None:
    checkpoint, config = lightning_cli(state, tmp_path, IBQ)
    assert "import it as ibq" in refusal(checkpoint, "taming", config=config)
    assert "taming and ibq have the same names" in refusal(checkpoint)
    assert pretrained.load("ibq", checkpoint).config.quantizer.name == "ibq"
    assert pretrained.load("taming", checkpoint).config.quantizer.name == "vq"
    checkpoint, config = lightning_cli(state, tmp_path, "somewhere.models.LFQModel")
    assert "is of LFQModel: no importer knows that class" in refusal(checkpoint, config=config)
    checkpoint, config = lightning_cli(state, tmp_path, "taming.models.vqgan.VQModel")
    assert pretrained.load(None, checkpoint, config).config.quantizer.name == "vq"
    assert "import it as taming" in refusal(checkpoint, "ibq", config=config)
    for change in ({"l2_normalize": True}, {"sample_minimization_weight": 2.0}, {"remap": "used.npy"}):
        checkpoint, config = lightning_cli(state, tmp_path, IBQ, **change)
        assert next(iter(change)) in refusal(checkpoint, config=config)


@pytest.mark.parametrize("name", ["ibq", "ibq_noema"])
def test_ibqs_official_outputs(name: str, golden: Path) -> None:
    folder = golden.parent / "golden-successors"
    if not folder.is_dir():
        pytest.skip("no golden-successors")
    made = pretrained.load(None, folder / f"{name}.ckpt", folder / f"{name}.yaml")
    data, key = np.load(folder / f"{name}_io.npz"), "live" if "noema" in name else "ema"
    codes = made.encode(torch.from_numpy(data["x"]))
    assert torch.equal(codes[..., 0], torch.from_numpy(data[f"{key}.indices"]))
    with torch.no_grad():
        found = made.decode(codes)
    assert (found - torch.from_numpy(data[f"{key}.reconstruction"])).abs().max() < 1e-4
