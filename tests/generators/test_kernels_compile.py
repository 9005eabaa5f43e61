"""The kernels of decoding and drawing, compiled to machine code for cards that are not here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Triton asks the driver for the card; a launch that only warms up gives the types of its tensors in their place.
COMPILED = """
import itertools, sys
import torch
from torch import bfloat16, bool, float16, float32, int64
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from tokbench.generators import fused_draw, fused_step

class Card:
    get_current_device = get_current_stream = lambda self, *_: 0
    get_current_target = lambda self: GPUTarget("cuda", int(sys.argv[1]), 32)

driver.set_active(Card())

def machine_code(kernel, *args, **options):
    made = kernel.warmup(*args, grid=(1,), **options)
    assert made.asm["cubin"] and made.metadata.shared <= 48 * 1024, (kernel, args)

for kept, turns, hides in itertools.product((bfloat16, float16, float32), (True, False), (True, False)):
    for channels, block in ((64, 64), (80, 128)):
        machine_code(
            fused_step._attend_kernel, kept, kept, kept, kept, float32, bool, 5, 256, 17 * hides, 0.125, 24, channels,
            turns, hides, block, 32, num_warps=2,
        )
    machine_code(fused_step._sum_and_norm_kernel, kept, kept, kept, float32, float32, 1e-5, 1536, 2048, num_warps=4)
    machine_code(fused_draw._draw_kernel, kept, int64, int64, 1.0, 16384, 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("card", [80, 90])
def test_kernels_compile_for_a_card_that_is_not_here(card: int) -> None:
    pytest.importorskip("triton")
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILED, str(card)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
