from __future__ import annotations

import copy
import math

import pytest
import torch
from small_tokenizers import make

from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer, pad_to_multiple
from tokbench.models.layout import channels_last_

# What an architecture does with one code of several depths it does with one.
QUANTIZERS = [
    pytest.param({"name": "vq", "codebook_size": 16}, marks=pytest.mark.slow),
    {"name": "rq", "codebook_size": 16, "depth": 3},
    pytest.param({"name": "lfq", "codebook_size": 16}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda q: q["name"])
def test_shapes_and_gradients(architecture: str, quantizer: dict, images: torch.Tensor) -> None:
    tokenizer = make(architecture, quantizer)
    side = 16 // tokenizer.downsampling
    grid = {"titok": (12,), "gigatok": (16,)}.get(architecture, (side, side))
    out = tokenizer(images)
    depth = quantizer.get("depth", 1)
    assert out.reconstruction.shape == images.shape
    assert out.codes.shape == (2, *grid, depth) and out.codes.dtype == torch.int64
    assert out.latents.shape == (2, tokenizer.quantizer.dim, *grid)
    ((out.reconstruction - images).square().mean() + out.loss).backward()
    without = [n for n, p in tokenizer.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A shift before a normalisation, or the same logit for every key, changes nothing: those gradients are round-off.
    assert [n for n in without if not n.endswith("bias")] == []
    assert tokenizer.last_layer.grad is not None


def test_encode_then_decode_is_the_eval_forward(architecture: str, images: torch.Tensor) -> None:
    tokenizer = make(architecture).eval()
    with torch.no_grad():
        out = tokenizer(images)
        codes = tokenizer.encode(images)
        assert torch.equal(codes, out.codes)
        assert torch.allclose(tokenizer.decode(codes), out.reconstruction, atol=1e-5)
        assert torch.equal(tokenizer.reconstruct(images), tokenizer.decode(codes))


def test_other_sizes(architecture: str) -> None:
    tokenizer = make(architecture).eval()
    f = tokenizer.downsampling
    images = torch.rand(1, 3, 5 * f, 3 * f) * 2 - 1
    if not tokenizer.config.model.any_size:
        with pytest.raises(ValueError, match=f"{5 * f}x{3 * f} is not the one size of this tokenizer's images, 16x16"):
            tokenizer.encode(images)
        return
    codes = tokenizer.encode(images)
    assert codes.shape[1:3] == tokenizer.grid((5 * f, 3 * f)) == (5, 3)
    assert tokenizer.decode(codes).shape == images.shape
    one = torch.rand(2, 3, f, f) * 2 - 1
    assert tokenizer.reconstruct(one).isfinite().all()


def test_encode_changes_nothing(architecture: str, images: torch.Tensor) -> None:
    tokenizer = make(architecture, {"name": "rq", "codebook_size": 16, "depth": 2}).eval()
    before = tokenizer.sha256()
    codes = tokenizer.encode(images)
    tokenizer.decode(codes)
    assert tokenizer.sha256() == before and not codes.requires_grad


def test_prefixes_of_depth(images: torch.Tensor) -> None:
    tokenizer = make("vqgan").eval()
    codes = tokenizer.encode(images)
    for depth in (1, 2, 3):
        assert torch.equal(tokenizer.reconstruct(images, depth), tokenizer.decode(codes[..., :depth]))
    assert not torch.equal(tokenizer.reconstruct(images, 1), tokenizer.reconstruct(images, 3))
    with pytest.raises(ValueError, match="depth 4 is not within 1..3"):
        tokenizer.reconstruct(images, 4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 17, 16), "17x16 is not a multiple of the downsampling 2; nearest: 16x16, 18x16"),
        (torch.zeros(1, 1, 16, 16), r"\(1, 1, 16, 16\)"),
        (torch.zeros(3, 16, 16), r"\(3, 16, 16\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "uint8"),
    ],
)
def test_wrong_images(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("vqgan").encode(images)


def test_rate() -> None:
    tokenizer = make("vqgan", {"name": "rq", "codebook_size": 10, "depth": 3})
    rate = tokenizer.rate()
    bits = 3 * math.log2(10)
    assert rate["tokens"] == [8, 8, 3] and rate["codebook_sizes"] == [10, 10, 10]
    assert rate["bits_per_position"] == pytest.approx(bits)
    assert rate["bits_per_image"] == pytest.approx(64 * bits)
    assert rate["bits_per_pixel"] == pytest.approx(bits / 4)
    assert tokenizer.rate((16, 32))["tokens"] == [8, 16, 3]
    with pytest.raises(ValueError, match="15 is not"):
        tokenizer.rate(15)


def test_code_channels_follow_the_quantizer() -> None:
    assert make("vqgan", {"name": "vq", "codebook_size": 8}).quantizer.dim == 8  # the latent's
    assert make("vqgan", {"name": "lfq", "codebook_size": 64}).quantizer.dim == 6  # its bits
    assert make("vqgan", {"name": "lfq", "codebook_size": 64}, code_channels=4).quantizer.dim == 4
    assert make("magvit2", {"name": "lfq", "codebook_size": 2**10}).quantizer.dim == 10


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        ({"name": "rvq"}, "rvq"),
        ({"name": "rq", "codebook_size": 16, "depht": 4}, "depht.*did you mean 'depth'"),
        ({"name": "lfq", "codebook_size": 100}, "power of two"),
        ({"name": "vq", "codebook_size": 16, "dim": 4}, "code_channels"),
        ({"name": "rq", "codebook_size": 16}, "depth"),
        ({"name": "grouped", "groups": 3, "quantizer": "vq", "codebook_size": 16}, "dim is model.code_channels"),
    ],
)
def test_wrong_quantizers(quantizer: dict, message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        make("vqgan", quantizer)


def test_checkpointed_activations_give_the_same_gradients(architecture: str, images: torch.Tensor) -> None:
    every_token = {"tail_drop": 0.0} if architecture == "titok" else {}  # no tokens left out by chance
    plain = make(architecture, {"name": "lfq", "codebook_size": 16}, **every_token)
    lean = copy.deepcopy(plain)
    lean.checkpoint_activations()
    blocks = [module for module in lean.modules() if hasattr(module, "checkpointing")]
    assert all(block.checkpointing for block in blocks) and bool(blocks) == bool(list(lean.encoder.parameters()))
    for tokenizer in (plain, lean):
        tokenizer(images).reconstruction.square().mean().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), lean.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.allclose(a.grad, b.grad, atol=1e-6), name


def test_bfloat16_autocast_keeps_the_quantizer_in_fp32(images: torch.Tensor) -> None:
    tokenizer = make("vqgan").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = tokenizer(images)
    assert out.loss.dtype == torch.float32
    assert (out.reconstruction.float() - tokenizer(images).reconstruction).abs().mean() < 0.1


def test_half_precision_weights_decode(images: torch.Tensor) -> None:
    tokenizer = make("vqgan").eval().to(torch.bfloat16)
    codes = tokenizer.encode(images.bfloat16())
    assert tokenizer.decode(codes).dtype == torch.bfloat16


def test_channels_last_is_the_same(architecture: str, images: torch.Tensor) -> None:
    tokenizer = make(architecture).eval()
    other = copy.deepcopy(tokenizer)
    channels_last_(other)
    with torch.no_grad():
        assert torch.allclose(other(images).reconstruction, tokenizer(images).reconstruction, atol=1e-4)
    assert other.sha256() == tokenizer.sha256()


def test_hash_sees_every_weight() -> None:
    tokenizer = make("vqgan")
    before = tokenizer.sha256()
    assert make("vqgan").sha256() == before
    with torch.no_grad():
        tokenizer.decoder.head.bias[0] += 1e-3  # type: ignore[union-attr,index,operator]
    assert tokenizer.sha256() != before


def test_on_the_meta_device(architecture: str) -> None:
    with torch.device("meta"):
        tokenizer = make(architecture)
    assert isinstance(tokenizer, Tokenizer) and next(tokenizer.parameters()).device.type == "meta"


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (1, 1), (3, 9), (8, 5)])
def test_padding(height: int, width: int) -> None:
    images = torch.rand(1, 3, height, width)
    padded, (h, w) = pad_to_multiple(images, 8)
    assert padded.shape[2] % 8 == 0 and padded.shape[3] % 8 == 0
    assert padded.shape[2] < height + 8 and padded.shape[3] < width + 8
    assert torch.equal(padded[..., :h, :w], images) and (h, w) == (height, width)
    assert padded.min() >= images.min() and padded.max() <= images.max()


def test_a_few_steps_learn(architecture: str, images: torch.Tensor) -> None:
    tokenizer = make(architecture, {"name": "lfq", "codebook_size": 16})
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        loss = (tokenizer(images).reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0]


def test_compiled_networks_are_the_same_under_the_same_names(images: torch.Tensor) -> None:
    tokenizer = make("vqgan", attention_resolutions=[]).eval()  # the middle has attention
    compiled = copy.deepcopy(tokenizer)
    compiled.compile_networks(backend="aot_eager", fullgraph=True)  # a graph break is an error
    assert torch.equal(compiled.encode(images), tokenizer.encode(images))
    assert torch.allclose(compiled.reconstruct(images), tokenizer.reconstruct(images), atol=1e-5)
    assert compiled.sha256() == tokenizer.sha256()
