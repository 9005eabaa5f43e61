"""The authors' own code beside ours: the same network, values and gradients, before their times are compared."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from small_tokenizers import make

from tokbench.bench import peers
from tokbench.bench.peers import peer_of
from tokbench.bench.tokenizer import PARTS, StepOptions, bench_tokenizer
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

CONFIG = TokenizerConfig.model_validate(
    {
        "image_size": 32,
        "model": {
            "architecture": "vqgan", "channels": 32, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": [16],
            "latent_channels": 16, "code_channels": 8,
        },
        "quantizer": {"name": "vq", "codebook_size": 32, "codebook_update": "gradient", "beta_on": "codebook"},
    }
)  # fmt: skip


def pair() -> tuple[Tokenizer, Any, torch.Tensor]:
    pytest.importorskip("taming", reason="taming-transformers is not installed (tokbench[peers])")
    torch.manual_seed(0)
    ours, images = Tokenizer(CONFIG), torch.rand(2, 3, 32, 32) * 2 - 1
    return ours, peer_of(ours, "taming", images), images


def test_tamings_own_code_trains_the_same_network() -> None:
    ours, theirs, images = pair()
    assert torch.equal(ours.eval().encode(images).flatten(), theirs.eval().encode(images))
    out = ours.train()(images)
    reconstruction, loss = theirs.train()(images)
    torch.testing.assert_close(out.reconstruction, reconstruction, rtol=0, atol=1e-4)
    torch.testing.assert_close(out.loss, loss, rtol=1e-5, atol=1e-7)
    ((out.reconstruction - images).abs().mean() + out.loss).backward()
    ((reconstruction - images).abs().mean() + loss).backward()
    for mine, its in (
        (ours.encoder, theirs.encoder.conv_in),
        (ours.decoder, theirs.decoder.conv_out),
        (ours.quantizer, theirs.quantize.embedding),
    ):
        wanted = its.weight.grad
        found = [p.grad for p in mine.parameters() if p.shape == its.weight.shape]
        assert any(torch.allclose(g, wanted, rtol=1e-4, atol=1e-6) for g in found if g is not None)


def test_a_row_for_the_peer() -> None:
    pair()
    result = bench_tokenizer(CONFIG, [StepOptions()], beside="taming", batch_size=1, repeats=1, warmup=0)
    ours, theirs = result["rows"]
    assert theirs["variant"] == "taming's own fp32 eager"
    for part in PARTS:
        assert theirs["speedup"][part] == pytest.approx(ours["seconds"][part] / theirs["seconds"][part])


def test_what_the_peer_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, images = make("vqgan"), torch.rand(1, 3, 32, 32)
    with pytest.raises(TokbenchError, match="no peer 'tamming'"):
        peer_of(ours, "tamming", images)
    with pytest.raises(TokbenchError, match="taming has no architecture like magvit2"):
        peer_of(make("magvit2"), "taming", images)

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("taming"):
            raise ImportError("No module named 'taming'")
        return real(name, *rest, **more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TokbenchError, match=r"pip install 'tokbench\[peers\]'"):
        peer_of(Tokenizer(CONFIG), "taming", images)


def test_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _, images = pair()

    def altered(tokenizer: Tokenizer, name: str) -> Any:
        tensors, settings = layout(tokenizer, name)
        return {**tensors, "decoder.conv_out.bias": tensors["decoder.conv_out.bias"] + 0.1}, settings

    layout = peers.official_layout
    monkeypatch.setattr(peers, "official_layout", altered)
    with pytest.raises(TokbenchError, match="not the same network"):
        peer_of(ours, "taming", images)
