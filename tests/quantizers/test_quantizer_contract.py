"""What holds for every registered quantizer. Registering one is testing it: its ``examples()`` run here."""

from __future__ import annotations

import copy
import io
from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor

import quantizers as Q

CASES = [(name, kwargs) for name in Q.names() for kwargs in Q.get(name).examples()]
IDS = [f"{name}-{i}" for name in Q.names() for i in range(len(Q.get(name).examples()))]
LAYOUTS = {"vector": (3,), "sequence": (2, 7), "map": (2, 3, 5), "video": (1, 2, 3, 4), "batch of one": (1, 4, 4)}


def _parametrized(slow: Collection[str]) -> pytest.MarkDecorator:
    cases = zip(CASES, IDS, strict=True)
    marks = {name: [pytest.mark.slow] if name in slow else [] for name in IDS}
    return pytest.mark.parametrize(
        ("name", "kwargs"), [pytest.param(*case, id=name, marks=marks[name]) for case, name in cases]
    )


# A search among 196,560 codes in each of fifty tests; the linear maps that its second example adds are in many others.
every = _parametrized({"leech-1"})
# Of what a class does whatever its settings: its first example; the others are slow, and so is every search in Leech's.
one_each = _parametrized([name for name in IDS if name.startswith("leech") or not name.endswith("-0")])


def make(name: str, kwargs: dict[str, Any], **more: Any) -> Q.Quantizer:
    torch.manual_seed(0)
    return Q.build(name, **kwargs, **more)


def rows(q: Q.Quantizer, *positions: int, **options: Any) -> Tensor:
    """Random z at these positions, (B, ...); at those of its only grid, where the quantizer has one."""
    z = torch.randn(positions[0], *(q.latent_grid or positions[1:]), q.dim, **options)
    return z.movedim(-1, 1).contiguous() if q.channel_first else z


def trained(q: Q.Quantizer, steps: int = 2) -> Q.Quantizer:
    """After a few training steps, so that data-dependent starts lie behind it."""
    torch.manual_seed(1)
    for _ in range(steps):
        q.train()(rows(q, 4, 30))
    return q.eval()


def state(q: Q.Quantizer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in q.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@every
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_layouts(name: str, kwargs: dict[str, Any], train: bool) -> None:
    last = make(name, kwargs).train(train)
    first = make(name, kwargs, channel_first=True).train(train)
    for layout, shape in LAYOUTS.items():
        first.load_state_dict(last.state_dict())
        z = rows(last, *shape)
        positions = (len(z), *last.code_grid(z.shape[1:-1]))
        torch.manual_seed(2)
        a = last(z)
        torch.manual_seed(2)
        b = first(z.movedim(-1, 1))
        assert a.quantized.shape == z.shape and a.quantized.dtype == z.dtype, layout
        assert a.indices.shape == (*positions, last.num_codebooks) and a.indices.dtype == torch.int64, layout
        assert a.loss.shape == ()
        for d, size in enumerate(last.codebook_sizes):
            assert 0 <= a.indices[..., d].min() and a.indices[..., d].max() < size, layout
        assert torch.equal(a.indices, b.indices), layout
        assert torch.allclose(a.quantized, b.quantized.movedim(1, -1), atol=1e-6), layout
        quantized, indices, loss = a
        assert quantized is a.quantized and indices is a.indices and loss is a.loss


@every
def test_eval_is_a_function_of_the_codes(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    z = rows(q, 2, 3, 5)
    before = state(q)
    with torch.no_grad():
        out, codes = q(z), q.encode(z)
    assert torch.equal(codes, out.indices)
    assert torch.equal(q.decode(codes), out.quantized)
    assert out.loss == 0 and not out.loss.requires_grad and out.losses == {}
    assert same(before, state(q)), "eval changed the state"
    assert torch.equal(q.join(q.subcodes(codes)), codes)
    for d, size in enumerate(q.subcode_sizes):
        assert q.subcodes(codes)[..., d].max() < size

    sums = q.embed(codes).cumsum(-2)
    assert sums.shape == (*codes.shape, q.dim)
    if q.latent_grid is None:
        assert torch.allclose(sums[..., -1, :], out.quantized, atol=1e-5)
    for count in q.prefixes:
        assert q.decode(codes[:, :count]).shape == z.shape
    if q.decodes_prefix:
        for d in range(1, q.num_codebooks + 1):
            assert torch.allclose(sums[..., d - 1, :], q.decode(codes[..., :d]), atol=1e-5)


@every
def test_encode_in_training_changes_nothing(name: str, kwargs: dict[str, Any]) -> None:
    q = make(name, kwargs).train()
    before, counted = state(q), q.usage.total
    q.encode(rows(q, 2, 9))
    assert same(before, state(q)) and q.training and q.usage.total == counted


@every
def test_gradients_reach_z_and_parameters(name: str, kwargs: dict[str, Any]) -> None:
    q = make(name, kwargs)
    q.train()(rows(q, 4, 30))
    z = rows(q, 2, 9, requires_grad=True)
    out = q(z)
    (out.quantized.square().sum() + out.loss).backward()
    assert z.grad is not None and z.grad.abs().sum() > 0 and z.grad.isfinite().all()
    for key, parameter in q.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    assert all(not value.requires_grad for value in out.losses.values())


@one_each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_quantized_in_fp32(name: str, kwargs: dict[str, Any], dtype: torch.dtype) -> None:
    q = trained(make(name, kwargs))
    z = rows(q, 2, 6).to(dtype)
    out = q(z)
    assert out.quantized.dtype == dtype
    assert torch.equal(out.indices, q(z.float()).indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = q(z.float())
    assert torch.equal(inside.quantized, q(z.float()).quantized)
    z.requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = q.train()(z)
    (out.quantized.float().sum() + out.loss).backward()
    assert out.loss.dtype == torch.float32 and z.grad is not None and z.grad.dtype == dtype


@every
def test_state_dict_and_deepcopy(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    z = rows(q, 2, 6)
    expected = q(z).quantized
    file = io.BytesIO()
    torch.save(q.state_dict(), file)
    file.seek(0)
    fresh = Q.build(name, **kwargs).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(z).quantized, expected)
    twin = copy.deepcopy(q)
    assert torch.equal(twin(z).quantized, expected)
    twin.train()(rows(q, 4, 30))
    assert torch.equal(q(z).quantized, expected), "the copy shares state with the original"


@every
def test_usage_counts_every_forward(name: str, kwargs: dict[str, Any]) -> None:
    q = make(name, kwargs)
    z = rows(q, 2, 5)
    first = q.train()(z).indices
    second = q.eval()(z).indices
    assert q.usage.total == 2 * first[..., 0].numel()
    seen = torch.cat([first, second]).reshape(-1, q.num_codebooks)
    for d, size in enumerate(q.codebook_sizes):
        values, hits = seen[:, d].unique(return_counts=True)
        assert q.usage.usage[d] == len(values) / size
        if size < 2**20:
            assert torch.equal(q.usage.counts[d][values], hits) and int(q.usage.counts[d].sum()) == q.usage.total
    assert not any("usage" in key for key in q.state_dict())
    q.usage.reset()
    assert q.usage.total == 0 and q.usage.usage == [0.0] * q.num_codebooks


@every
def test_meta_device(name: str, kwargs: dict[str, Any]) -> None:
    with torch.device("meta"):
        q = Q.build(name, **kwargs).eval()
        z = rows(q, 2, 5)
        out = q(z)
    assert out.quantized.shape == z.shape and out.quantized.device.type == "meta"


@every
def test_bad_input_is_one_clear_line(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    with pytest.raises(ValueError, match=rf"dim={q.dim}, not \(2, 5, {q.dim + 1}\)"):
        q(torch.randn(2, 5, q.dim + 1))
    with pytest.raises(ValueError, match="empty"):
        q(rows(q, 0, 5))
    with pytest.raises(ValueError, match="floating-point"):
        q(torch.zeros(2, q.dim, dtype=torch.long))
    z = torch.zeros_like(rows(q, 2, 5))
    z.flatten(1, -2)[0, :2, 0] = float("nan")
    z.flatten(1, -2)[1, 0, 0] = float("inf")
    for call in (q, q.encode):
        with pytest.raises(ValueError, match=f"3 NaN or Inf among the {z.numel()}"):
            call(z)
    q.check_finite = False
    q(z)
    codes = q.encode(rows(q, 2, 5))
    with pytest.raises(ValueError, match=r"D = .*, not \(2, \d+, \d+\)"):
        q.decode(torch.cat([codes, codes], -1))
    with pytest.raises(ValueError, match="integer codes"):
        q.decode(codes.float())
    for wrong in (-1, q.codebook_sizes[0]):
        outside = codes.clone()
        outside[0, 0, 0] = wrong
        with pytest.raises(ValueError, match="1 of the codes"):
            q.decode(outside)


@every
def test_large_finite_values_pass_the_check(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    q.encode(torch.full_like(rows(q, 2, 40), 1e37))  # their sum overflows fp32


@pytest.mark.parametrize("name", Q.names())
def test_described(name: str) -> None:
    cls = Q.get(name)
    assert cls.name == name and cls.summary and cls.paper
    undocumented = {k for k in Q.options(name) if k not in (cls.__doc__ or "")} - {"check_finite", "options"}
    assert not undocumented
