"""Modules that were cast, moved, created empty, recomputed or run in inference mode, as whole models are."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_quantizer_contract import every, make, one_each, rows, trained
from torch.utils.checkpoint import checkpoint

import quantizers as Q


@pytest.fixture
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def step(q: Q.Quantizer, dtype: torch.dtype) -> Q.QuantizerOutput:
    z = rows(q, 4, 30, dtype=dtype, requires_grad=True)
    out = q.train()(z)
    (out.quantized.float().square().sum() + out.loss).backward()
    assert out.quantized.dtype == dtype and out.loss.dtype == torch.float32
    assert z.grad is not None and z.grad.dtype == dtype and z.grad.isfinite().all()
    return out


@one_each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_module_trains(name: str, kwargs: dict[str, Any], dtype: torch.dtype) -> None:
    q = make(name, kwargs).to(dtype)
    for given in (dtype, torch.float32, dtype):
        step(q, given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step(q, given)
    z = rows(q, 2, 5, dtype=dtype)
    codes = q.eval().encode(z)
    assert torch.equal(q(z).indices, codes) and q.decode(codes).dtype == torch.float32
    file = io.BytesIO()
    torch.save(q, file)
    file.seek(0)
    for twin in (copy.deepcopy(q), pickle.loads(pickle.dumps(q)), torch.load(file, weights_only=False)):
        assert torch.equal(twin.eval()(z).indices, codes)


@one_each
@pytest.mark.parametrize("assign", [False, True])
def test_weights_of_another_dtype_load_and_train(name: str, kwargs: dict[str, Any], assign: bool) -> None:
    q = trained(make(name, kwargs))
    weights = {k: v.bfloat16() if v.is_floating_point() else v for k, v in q.state_dict().items()}
    q.load_state_dict(weights, assign=assign)
    step(q, torch.float32)


def test_averages_are_as_exact_in_a_cast_model_as_in_fp32() -> None:
    plain = trained(Q.RQ(8, 16, 2), steps=3)
    cast = copy.deepcopy(plain).bfloat16()
    for _ in range(20):
        z = torch.randn(4, 30, 8).bfloat16()
        torch.manual_seed(2)
        a = plain.train()(z)
        torch.manual_seed(2)
        b = cast.train()(z)
        assert torch.equal(a.indices, b.indices)
    found = cast.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(found[key], value), key


@one_each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_default_dtype(name: str, kwargs: dict[str, Any], dtype: torch.dtype, default_dtype: None) -> None:
    torch.set_default_dtype(dtype)
    q = Q.build(name, **kwargs)
    out = step(q, dtype)
    assert all(value.dtype == torch.float32 for value in out.losses.values())
    assert q.decode(out.indices).dtype == torch.float32


@every
def test_created_empty(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    z = rows(q, 2, 5)
    for assign in (False, True):
        with torch.device("meta"):
            empty = Q.build(name, **kwargs).eval()
        if not assign:
            empty.to_empty(device="cpu")
        empty.load_state_dict(q.state_dict(), assign=assign)
        assert torch.equal(empty(z).indices, q(z).indices)
    with torch.no_grad():
        for value in (*empty.parameters(), *empty.buffers()):
            value.fill_(float("nan") if value.is_floating_point() else max(-(2**40), torch.iinfo(value.dtype).min))
    for module in empty.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    step(empty, torch.float32)
    assert all(value.isfinite().all() and value.min() > -(2**40) for value in empty.state_dict().values())


@one_each
def test_inference_mode_first(name: str, kwargs: dict[str, Any]) -> None:
    q = make(name, kwargs)
    with torch.inference_mode():
        seen = q.eval()(rows(q, 4, 30)).indices[..., 0].numel()
        q.train()(rows(q, 4, 30))
    step(q, torch.float32)
    assert q.usage.total == 3 * seen


@one_each
@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_are_counted_once(name: str, kwargs: dict[str, Any], reentrant: bool) -> None:
    q = trained(make(name, kwargs)).train()
    once, z = copy.deepcopy(q), rows(q, 4, 30, requires_grad=True)
    torch.manual_seed(3)
    checkpoint(lambda z: q(z).quantized.sum() + q(z).loss, z, use_reentrant=reentrant).backward()
    torch.manual_seed(3)
    once(z), once(z)
    assert q.usage.total == once.usage.total
    found = q.state_dict()
    for key, value in once.state_dict().items():
        assert torch.equal(found[key], value), key


def test_replicas_do_not_share_what_is_waiting_for_an_update() -> None:
    q = Q.VQ(8, 16)
    q.codes.update_every = 2
    q.train()(torch.randn(2, 9, 8))
    replica = q.codes._replicate_for_data_parallel()
    replica.learn([(torch.randn(9, 8), torch.zeros(9, dtype=torch.int64))])
    assert len(q.codes._pending) == 1
