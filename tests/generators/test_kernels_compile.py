"""The kernels of decoding and drawing, compiled to machine code for cards that are not here."""

from __future__ import annotations

import pytest
from far_cards import compile_for

COMPILED = """
import itertools
from torch import bfloat16, bool, float16, float32, int64
from tokbench.generators import fused_draw, fused_step
MOST = 48 * 1024

for kept, turns, hides in itertools.product((bfloat16, float16, float32), (True, False), (True, False)):
    for channels, block in ((64, 64), (80, 128)):
        machine_code(
            fused_step._attend_kernel, MOST, kept, kept, kept, kept, float32, bool, 5, 256, 17 * hides, 0.125, 24,
            channels, turns, hides, block, 32, num_warps=2,
        )
    machine_code(
        fused_step._sum_and_norm_kernel, MOST, kept, kept, kept, float32, float32, 1e-5, 1536, 2048, num_warps=4
    )
    machine_code(fused_draw._draw_kernel, MOST, kept, int64, int64, 1.0, 16384, 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("card", [80, 90])
def test_kernels_compile_for_a_card_that_is_not_here(card: int) -> None:
    compile_for(card, COMPILED)
