"""GSQ, MGVQ and FVQ: values and gradients of the official code, run with random weights into small files; prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_quantizer_golden import assert_close, load, quantize_with_gradients

import quantizers as Q
from quantizers.fvq import VQBridge

GOLDEN = Path(__file__).parents[1] / "fixtures" / "quantizers"


def test_gsq_is_flex_gens() -> None:
    """HelmholtzAI-FZJ/flex_gen@652f7f4f, ``GroupSphereQuantizer`` with l2 norms; code vectors are not of length 1."""
    d = load(GOLDEN, "gsq")
    q = Q.GSQ(12, 16, 3)
    q.load_codebook(d["codebook"])
    out, grad = quantize_with_gradients(q, d)
    assert torch.equal(out.indices, d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.loss, d["loss"])
    assert_close(grad, d["grad_z"])
    assert_close(q.weight.grad, d["grad_codebook"])


def test_mgvq_is_the_official_one_and_its_first_groups_decode() -> None:
    """MKJia/MGVQ, ``VectorQuantizer`` with l2 norms, of codes that are all in use."""
    d = load(GOLDEN, "mgvq")
    q = Q.MGVQ(12, 16, 3, channel_first=True, restart_threshold=0.0)
    for part, codebook in zip(q.parts, d["codebook"].chunk(3), strict=True):
        part.load_codebook(codebook)  # type: ignore[operator]
    out, grad = quantize_with_gradients(q, d)
    assert torch.equal(out.indices.flatten(0, 2), d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.loss, d["loss"])
    assert_close(grad, d["grad_z"])
    gradients = torch.cat([part.codes.weight.grad for part in q.parts])  # type: ignore[union-attr]
    assert_close(gradients, d["grad_codebook"])
    assert_close(q.decode(out.indices[..., :2]), d["first_two"])


def test_groups_are_left_out_from_the_last_as_often_as_said() -> None:
    torch.manual_seed(0)
    q = Q.MGVQ(6, 8, 3, group_dropout=[0, 0.3, 0.6])
    z, there = torch.randn(2, 4, 6), torch.zeros(3)
    for _ in range(400):
        out = q.train()(z)
        kept = out.quantized.unflatten(-1, (3, 2)).abs().sum((0, 1, 3)) > 0
        assert not bool((kept[1:] & ~kept[:-1]).any())
        there += kept
    torch.testing.assert_close(there / 400, torch.tensor([1.0, 0.7, 0.4]), atol=0.08, rtol=0)
    for chances in ([0, 0.5], [0.1, 0.2, 0.3], [0, 0.5, 0.2]):
        with pytest.raises(ValueError, match="must have a chance for each of 3 groups, rising from 0"):
            Q.MGVQ(6, 8, 3, group_dropout=chances)


def official_bridge() -> tuple[VQBridge, dict[str, torch.Tensor]]:
    """yfChang-cv/FVQ, ``qbridge_ViT.VQBridge`` of width 8 and one layer over 4x4 codes."""
    d = load(GOLDEN, "fvq")
    names = {
        "x_embedder.proj": "compress", "blocks.0.attn.qkv": "blocks.0.qkv", "blocks.0.attn.proj": "blocks.0.out",
        "blocks.0.mlp.fc1": "blocks.0.wide", "blocks.0.mlp.fc2": "blocks.0.narrow", "final_layer.linear": "recover",
    }  # fmt: skip
    bridge = VQBridge(16, 3, patch=2, width=8, layers=1)
    theirs = {f"{ours}.{kind}": d[f"sd.{name}.{kind}"] for name, ours in names.items() for kind in ("weight", "bias")}
    bridge.load_state_dict(theirs)
    return bridge, d


def test_the_bridge_is_fvqs_and_the_quantizer_that_of_vector_quantize_pytorch() -> None:
    bridge, d = official_bridge()
    assert_close(bridge(d["embedding"]), d["codebook"])
    theirs = pytest.importorskip("vector_quantize_pytorch").VectorQuantize(
        dim=3, codebook_size=16, vq_bridge=bridge, commitment_weight=0.25, rotation_trick=False
    )
    theirs._codebook.embed.data.copy_(d["embedding"][None])
    q = Q.FVQ(3, 16, vq_bridge="xs-2", codebook_weight=0.0)
    q.bridge, q.weight = bridge, torch.nn.Parameter(d["embedding"])
    z = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0))
    quantized, indices, _ = theirs.eval()(z)
    out = q.eval()(z)
    assert torch.equal(out.indices[..., 0], indices) and len(indices.unique()) > 3
    assert_close(out.quantized, quantized)
    with pytest.raises(ValueError, match="patches of 4 needs the square of a multiple of 4, not 2048"):
        Q.FVQ(3, 2048, vq_bridge="b-4")
    assert Q.configurations("fvq", bits=12) == [{"codebook_size": 4096, "vq_bridge": "b-2"}]
    with pytest.raises(ValueError, match="fvq needs a codebook that is a square of even side"):
        Q.configurations("fvq", bits=11)


def test_every_code_of_fvq_moves_with_every_step() -> None:
    torch.manual_seed(0)
    q = Q.FVQ(4, 64, vq_bridge="xs-2")
    before = q.codebook.detach().clone()
    optimizer = torch.optim.Adam(q.parameters(), lr=1e-2)
    q.train()(torch.randn(1, 2, 4)).loss.backward()  # two of 64 codes are hit
    optimizer.step()
    assert bool(((q.codebook - before).abs().sum(-1) > 1e-4).all())
