"""Drawing a code as one Triton kernel: of each row of logits the argmax with Gumbel noise, read once.

Operator by operator the noise is a chain over int64, which by count moves two fifths of all bytes where 500 images are
drawn at 1.4B from 16384 codes. Imported only where the logits are on a GPU and Triton is there.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokbench.splitmix import GOLDEN, M1, M2, signed

_GOLDEN, _M1, _M2 = tl.constexpr(signed(GOLDEN)), tl.constexpr(signed(M1)), tl.constexpr(signed(M2))
_34, _37, _33, _24 = (tl.constexpr(2**bits - 1) for bits in (34, 37, 33, 24))
_BLOCK = 1024


@triton.jit
def _draw_kernel(  # type: ignore[no-untyped-def]
    logits_ptr, keys_ptr, index_ptr, inverse_temperature, size: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    key = tl.load(keys_ptr + row)
    best, index = float("-inf"), 0
    for start in range(0, size, BLOCK):
        codes = start + tl.arange(0, BLOCK)
        logits = tl.load(logits_ptr + row * size + codes, mask=codes < size, other=float("-inf")).to(tl.float32)
        x = key + (codes.to(tl.int64) + 1) * _GOLDEN
        x = (x ^ ((x >> 30) & _34)) * _M1
        x = (x ^ ((x >> 27) & _37)) * _M2
        x = x ^ ((x >> 31) & _33)
        uniform = (((x >> 40) & _24).to(tl.float32) + 0.5) * (2.0**-24)
        uniform = tl.minimum(uniform, 1.0 - 2.0**-24)
        # log1p(-u) by Kahan: 1 - u is rounded, and the rounding taken out again, so that small u stay exact.
        rest = 1.0 - uniform
        near = rest == 1.0
        log = tl.where(near, uniform, tl.log(rest) * (uniform / tl.where(near, 1.0, rest - 1.0)))
        scores = logits * inverse_temperature - tl.log(log)
        top, place = tl.max(scores, axis=0), tl.argmax(scores, axis=0)
        index = tl.where(top > best, start + place, index)
        best = tl.maximum(best, top)
    tl.store(index_ptr + row, index)


def argmax_with_noise(logits: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Logits (..., K) and a key each (...) -> the code of the largest logit / temperature + noise, int64 (...)."""
    size = logits.shape[-1]
    rows, flat = logits.reshape(-1, size).contiguous(), keys.expand(logits.shape[:-1]).reshape(-1).contiguous()
    found = torch.empty(len(rows), dtype=torch.int64, device=logits.device)
    block = min(_BLOCK, triton.next_power_of_2(size))
    _draw_kernel[(len(rows),)](rows, flat, found, 1 / temperature, size, block)
    return found.view(logits.shape[:-1])
