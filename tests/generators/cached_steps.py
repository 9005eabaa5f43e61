"""What a cached decoder promises, whatever the condition is."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from tokbench.generators.ar import AR
from tokbench.generators.ar_decoding import ARDecoder
from tokbench.generators.coder import ModelCoder


def check_cached_steps(model: AR, codes: Tensor, condition: Tensor, before: Tensor) -> None:
    """Steps equal the full pass, in a decoder that held the condition ``before`` first; coded codes come back."""
    decoder, sequence = ARDecoder(model, len(codes)), codes.flatten(1, -2)
    with torch.no_grad():
        full = model.logits(codes, condition)
        for given in (before, condition):
            decoder.restart(given)
            for t, d in itertools.product(range(model.places), range(model.depth)):
                if d == 0:
                    decoder.begin(t)
                step = decoder.logits(t, d)
                decoder.push(t, d, sequence[:, t, d])
                if given is condition:
                    torch.testing.assert_close(step, full[d][:, t], rtol=1e-5, atol=1e-5)
    coder = ModelCoder(model)
    assert torch.equal(coder.decode(coder.encode(codes, condition), len(codes), condition), codes)
