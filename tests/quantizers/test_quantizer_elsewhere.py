"""Every quantizer on a device other than the CPU: nothing of it stays behind, and it computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from elsewhere import DeviceMismatch, Elsewhere, On

import quantizers as Q

DEVICE = "lazy"


CASES = [pytest.param(name, Q.get(name).examples()[-1], id=name) for name in Q.names()]


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_trains_encodes_and_decodes_where_it_is_put(name: str, kwargs: dict[str, Any]) -> None:
    def run(device: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        q = Q.build(name, **kwargs).to(device)
        found = []
        for _ in range(2):
            z = torch.randn(4, *(q.latent_grid or (30,)), q.dim)
            z = z.to(device).requires_grad_(True)
            out = q.train()(z)
            (out.quantized.square().sum() + out.loss).backward()
            assert z.grad is not None
            found += [out.indices, out.loss.detach(), z.grad]
        codes = q.eval().encode(z)
        assert {tensor.device.type for tensor in q.state_dict().values()} <= {device}
        return [*found, codes, q.decode(codes), q.embed(codes), q.join(q.subcodes(codes)), *q.state_dict().values()]

    here = run("cpu")
    with On(DEVICE):
        there = run(DEVICE)
    for mine, theirs in zip(here, there, strict=True):
        assert isinstance(theirs, Elsewhere) and theirs.device.type == DEVICE
        torch.testing.assert_close(mine.detach(), theirs.values.detach())


def test_what_stays_behind_is_noticed() -> None:
    with On(DEVICE) as on:
        z, here = torch.randn(2, 3).to(DEVICE), torch.randn(2, 3)
        with pytest.raises(DeviceMismatch, match=r"add.Tensor of tensors on lazy:0 and on cpu"):
            z + here
        with pytest.raises(DeviceMismatch, match="index_select"):
            here.index_select(0, torch.tensor([0], device=DEVICE))
        assert not on.looks and float((z + here.to(DEVICE)).sum()) and sum(on.looks.values()) == 1
