"""Triton kernels compiled to machine code for a card that is not here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Triton asks the driver for the card; a launch that only warms up gives the types of its tensors in their place.
_PRELUDE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

card = int(sys.argv[1])

class Card:
    get_current_device = get_current_stream = lambda self, *_: 0
    get_current_target = lambda self: GPUTarget("cuda", card, 32)

driver.set_active(Card())

def machine_code(kernel, most_shared, *args, **options):
    made = kernel.warmup(*args, grid=(1,), **options)
    assert made.asm["cubin"] and made.metadata.shared <= most_shared, (kernel, args)
    return made
"""


def compile_for(card: int, code: str) -> None:
    """Run ``code``, which has ``card`` and ``machine_code(kernel, most_shared, *args, **options)``, in a process of its
    own: Triton decides when it is imported whether to interpret."""
    pytest.importorskip("triton")
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", _PRELUDE + code, str(card)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
