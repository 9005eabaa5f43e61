"""Every architecture on a device other than the CPU: nothing of it stays behind, and it computes the same."""

from __future__ import annotations

import pytest
import torch
from elsewhere import Elsewhere, On
from small_tokenizers import make, size_of

from tokbench.config.architecture import name_of
from tokbench.config.grid import axes
from tokbench.models.layout import channels_last, channels_last_
from tokbench.models.registry import all_settings

DEVICE = "lazy"


@pytest.mark.parametrize("name", [name_of(settings) for settings in all_settings()])
def test_a_step_encodes_and_decodes_where_it_is_put(name: str) -> None:
    def run(device: str) -> list[torch.Tensor]:
        tokenizer = make(name).to(device)
        images = torch.rand(2, 3, *axes(size_of(name)), generator=torch.Generator().manual_seed(0)) * 2 - 1
        images = images.to(device)
        if device != "cpu":  # the layout that GPUs like
            channels_last_(tokenizer)
            images = channels_last(images)
        torch.manual_seed(0)
        out = tokenizer.train()(images)
        ((out.reconstruction - images).square().mean() + out.loss).backward()
        gradients = [p.grad for p in tokenizer.parameters() if p.grad is not None]
        codes = tokenizer.eval().encode(images)
        assert {tensor.device.type for tensor in tokenizer.state_dict().values()} == {device}
        return [out.reconstruction.detach(), out.loss.detach(), *gradients, codes, tokenizer.decode(codes).detach()]

    here = run("cpu")
    with On(DEVICE):
        there = run(DEVICE)
    for mine, theirs in zip(here, there, strict=True):
        assert isinstance(theirs, Elsewhere) and theirs.device.type == DEVICE
        torch.testing.assert_close(mine, theirs.values, rtol=1e-3, atol=1e-4)
