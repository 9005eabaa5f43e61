"""Against the official implementations' inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tokbench import pretrained
from tokbench.errors import TokbenchError

FILES = {
    "taming": ("taming_vqgan.ckpt", "taming_vqgan.yaml", "taming_vqgan_io.npz"),
    "llamagen": ("llamagen_vq.pt", "llamagen_vq.json", "llamagen_vq_io.npz"),
    "open-magvit2": ("open_magvit2.ckpt", "open_magvit2.yaml", "open_magvit2_io.npz"),
    "rqvae": ("rqvae.pt", "rqvae.yaml", "rqvae_io.npz"),
}


@pytest.fixture(params=sorted(FILES))
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("with_config", [True, False], ids=["config", "weights alone"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "guessed"])
def test_official_outputs(source: str, with_config: bool, named: bool, golden: Path) -> None:
    checkpoint, config, io = FILES[source]
    tokenizer, report = pretrained.read(
        source if named else None, golden / checkpoint, golden / config if with_config else None
    )
    data = np.load(golden / io)
    indices = torch.from_numpy(data["indices"])
    indices = indices if indices.ndim == 4 else indices[..., None]
    images = torch.from_numpy(data["x"])
    assert report.source == source and not report.left_over and not tokenizer.training
    assert torch.equal(tokenizer.encode(images), indices)
    with torch.no_grad():
        difference = tokenizer.decode(indices) - torch.from_numpy(data["reconstruction"])
    assert difference.abs().max() < 1e-4
    if "latent" in data:
        latent = torch.from_numpy(data["latent"])
        latent = latent.permute(0, 3, 1, 2) if source == "rqvae" else latent
        with torch.no_grad():
            assert (tokenizer.latents(images) - latent).abs().max() < 1e-4


def test_reconstruction_by_depth(golden: Path) -> None:
    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    data = np.load(golden / "rqvae_io.npz")
    for depth, wanted in enumerate(data["reconstruction_by_depth"], start=1):
        got = tokenizer.reconstruct(torch.from_numpy(data["x"]), depth)
        assert (got - torch.from_numpy(wanted)).abs().max() < 1e-4


@pytest.mark.parametrize("source", ["taming", "rqvae"])
def test_export_has_the_official_names_shapes_and_values(source: str, golden: Path, tmp_path: Path) -> None:
    checkpoint, config, _ = FILES[source]
    tokenizer = pretrained.load(source, golden / checkpoint, golden / config)
    weights, settings = pretrained.export(tokenizer, source, tmp_path / "out.ckpt")
    got = torch.load(weights, weights_only=True)["state_dict"]
    wanted = torch.load(golden / checkpoint, weights_only=True)["state_dict"]
    wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith("loss.")}
    assert set(got) == set(wanted)
    for name, tensor in wanted.items():
        rows = (
            slice(0, -1) if "codebooks" in name and name.endswith(".weight") else slice(None)
        )  # the padding row is never used
        assert got[name].shape == tensor.shape and torch.equal(got[name][rows], tensor[rows]), name
    official = yaml.safe_load((golden / config).read_text())
    exported = yaml.safe_load(Path(settings).read_text())
    if source == "taming":
        params, wanted_params = exported["model"]["params"], official["model"]["params"]
        assert all(params[key] == wanted_params[key] for key in ("ddconfig", "embed_dim", "n_embed"))
    else:
        assert exported["arch"] == official["arch"]


def test_rqvae_moving_averages_come_along(golden: Path) -> None:
    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    official = torch.load(golden / "rqvae.pt", weights_only=True)["state_dict"]
    state = tokenizer.quantizer.state_dict()
    assert torch.equal(state["codes.0.cluster_size"], official["quantizer.codebooks.0.cluster_size_ema"])
    assert torch.equal(state["codes.0.embed_sum"], official["quantizer.codebooks.0.embed_ema"])


def test_the_two_sets_of_weights_differ(golden: Path) -> None:
    for source in ("open-magvit2", "llamagen"):
        path = golden / FILES[source][0]
        automatic = pretrained.load(source, path)
        assert automatic.sha256() == pretrained.load(source, path, weights="ema").sha256()
        assert automatic.sha256() != pretrained.load(source, path, weights="live").sha256()


def test_a_generator_is_no_tokenizer(golden: Path) -> None:
    with pytest.raises(TokbenchError, match="models the codes of a tokenizer"):
        pretrained.load(None, golden / "rqtransformer.pt")
