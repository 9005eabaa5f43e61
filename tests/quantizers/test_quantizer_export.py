"""Quantizers as programs: exported, traced and transformed ones give the module's codes and leave nothing in it."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from test_quantizer_contract import CASES, every, make, one_each, rows, trained
from torch import Tensor, nn

import quantizers as Q

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporters' own deprecations and the tracer's constants
BATCH = torch.export.Dim("batch", min=1, max=4096)
FIRST = {case[0]: case for case in reversed(CASES)}
# One that searches a codebook and one that takes signs, of all that are traced below; all the others are slow.
few = pytest.mark.parametrize(("name", "kwargs"), [FIRST[name] for name in ("vq", "lfq")], ids=["vq", "lfq"])


class Encode(nn.Module):
    def __init__(self, q: Q.Quantizer) -> None:
        super().__init__()
        self.q = q

    def forward(self, z: Tensor) -> Tensor:
        return self.q.encode(z)


class Decode(Encode):
    def forward(self, codes: Tensor) -> Tensor:
        return self.q.decode(codes)


def tried(name: str, kwargs: dict[str, Any]) -> tuple[Q.Quantizer, Tensor, Tensor]:
    """A quantizer of maps, and two batches of different size."""
    q = trained(make(name, kwargs, channel_first=True))
    q.usage.reset()
    return q, rows(q, 2, 3, 4), rows(q, 5, 3, 4)


def untouched(q: Q.Quantizer) -> None:
    assert q.usage.total == 0, "recorded codes were counted"
    assert copy.deepcopy(q).usage.usage == q.usage.usage
    assert pickle.loads(pickle.dumps(q)).state_dict().keys() == q.state_dict().keys()


def check_torch_export(name: str, kwargs: dict[str, Any]) -> None:
    q, example, z = tried(name, kwargs)
    whole = torch.export.export(q, (example,), dynamic_shapes=({0: BATCH},)).module()
    encode = torch.export.export(Encode(q), (example,), dynamic_shapes=({0: BATCH},))
    untouched(q)
    assert not [n for n in encode.graph.nodes if "quantizers" in str(n.target)], "needs this library to run"
    file = io.BytesIO()
    torch.export.save(encode, file)
    file.seek(0)
    codes = q.encode(z)
    assert torch.equal(torch.export.load(file).module()(z), codes)
    out = whole(z)
    assert isinstance(out, Q.QuantizerOutput) and torch.equal(out.indices, codes)
    torch.testing.assert_close(out.quantized, q(z).quantized)
    decode = torch.export.export(Decode(q), (codes[:2],), dynamic_shapes=({0: BATCH},)).module()
    torch.testing.assert_close(decode(codes), q.decode(codes))


@few
def test_torch_export(name: str, kwargs: dict[str, Any]) -> None:
    check_torch_export(name, kwargs)


@pytest.mark.slow
@every
def test_torch_export_of_every_example(name: str, kwargs: dict[str, Any]) -> None:
    check_torch_export(name, kwargs)


@one_each
def test_jit_trace(name: str, kwargs: dict[str, Any]) -> None:
    q, example, _ = tried(name, kwargs)
    z = rows(q, 3, 5, 2)  # another height and width too
    encode, decode = torch.jit.trace(Encode(q), (example,)), torch.jit.trace(Decode(q), (q.encode(example),))
    untouched(q)
    codes = q.encode(z)
    assert torch.equal(encode(z), codes)
    torch.testing.assert_close(decode(codes), q.decode(codes))


def run_onnx(module: nn.Module, example: Tensor, given: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=({0: BATCH},), verbose=False)
    file = io.BytesIO()
    assert program is not None
    program.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0])


def check_onnx(name: str, kwargs: dict[str, Any]) -> None:
    q, example, z = tried(name, kwargs)
    codes = q.encode(z)
    assert torch.equal(run_onnx(Encode(q), example, z), codes)
    torch.testing.assert_close(run_onnx(Decode(q), codes[:2], codes), q.decode(codes), atol=1e-5, rtol=1e-5)
    untouched(q)


def test_onnx() -> None:
    check_onnx(*FIRST["vq"])


@pytest.mark.slow
@every
def test_onnx_of_every_example(name: str, kwargs: dict[str, Any]) -> None:
    check_onnx(name, kwargs)


def test_the_exported_search_settles_ties_and_goes_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantizers.functional import nearest

    torch.manual_seed(0)
    book = torch.randn(50, 6).repeat(2, 1) + 1e4  # twins, and an offset that fp32 products drown in
    z = book[torch.randperm(100)] + 1e-3 * torch.randn(100, 6)
    expected = nearest.nearest_code(z, book), nearest.most_aligned_code(z, book)
    assert expected[0].max() < 50
    for pieces in (4096, 32, 50):
        monkeypatch.setattr(nearest, "_EXPORTED_CODES", pieces)
        for by_length, codes in zip((True, False), expected, strict=True):
            assert torch.equal(nearest.find_by_formula(z, book, by_length), codes), pieces


@pytest.mark.parametrize("kwargs", Q.VQ.examples()[:2])
def test_a_codebook_that_learns_says_that_it_cannot_be_exported(kwargs: dict[str, Any]) -> None:
    q = make("vq", kwargs).train()
    learns = q.codes.is_average  # type: ignore[union-attr]
    for record in (torch.export.export, torch.jit.trace):
        if learns:
            with pytest.raises(Exception, match=r"call \.eval\(\) first"):
                record(q, (torch.randn(2, 5, 8),))
    if learns:
        with pytest.raises(ValueError, match=r"inside torch.func.*call \.eval\(\) first"):
            torch.func.grad(lambda z: q(z).loss)(torch.randn(2, 5, 8))
    else:
        assert torch.func.grad(lambda z: q(z).loss)(torch.randn(2, 5, 8)).abs().sum() > 0
    untouched(q)


@one_each
def test_torch_func(name: str, kwargs: dict[str, Any]) -> None:
    q = trained(make(name, kwargs))
    q.usage.reset()
    z = torch.stack([rows(q, 1, 5) for _ in range(3)])
    codes = torch.vmap(q.encode)(z)
    quantized = torch.vmap(q)(z).quantized
    decoded = torch.vmap(q.decode)(codes)
    gradients = torch.func.grad(
        lambda p: torch.func.functional_call(q, p, (z[0],)).quantized.square().sum()
    )(dict(q.named_parameters()))  # fmt: skip
    untouched(q)
    assert torch.equal(codes[:, 0], q.encode(z[:, 0]))
    torch.testing.assert_close(quantized[:, 0], q(z[:, 0]).quantized)
    torch.testing.assert_close(decoded, quantized)
    assert all(g.isfinite().all() for g in gradients.values())


@pytest.mark.parametrize("name", ["bsq", "ibq", "simvq", "fsq"])
def test_torch_func_grad_of_a_training_step(name: str) -> None:
    q = make(name, Q.get(name).examples()[0]).train()
    z = rows(q, 2, 5, requires_grad=True)

    def objective(z: Tensor) -> Tensor:
        out = q(z)
        return out.quantized.square().sum() + out.loss

    objective(z).backward()
    assert z.grad is not None
    torch.testing.assert_close(torch.func.grad(objective)(z.detach()), z.grad)


@one_each
def test_abstract_tensors_leave_nothing(name: str, kwargs: dict[str, Any]) -> None:
    from torch._subclasses import FakeTensorMode

    q = trained(make(name, kwargs))
    q.usage.reset()
    with FakeTensorMode(allow_non_fake_inputs=True):
        z = rows(q, 2, 5)
        assert q(z).quantized.shape == z.shape
    untouched(q)
