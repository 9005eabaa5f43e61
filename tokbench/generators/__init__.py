"""Models of code stacks: ``AR``, ``MLM``, ``PixelSNAIL``, ``VAR``, how they are drawn, and what they cost as a code.

>>> generator = Generator.from_pretrained("runs/mine/generator")
>>> codes = generator.generate(16, condition=207, seed=0, guidance=3.0)  # int64 (16, *grid, D)
"""

from tokbench.generators.ar import AR
from tokbench.generators.base import Generator
from tokbench.generators.building import build, check_tokenizer, configure, for_tokenizer
from tokbench.generators.mlm import MLM
from tokbench.generators.pixelsnail import PixelSNAIL
from tokbench.generators.sampling import Sampling
from tokbench.generators.var import VAR

__all__ = [
    "AR",
    "MLM",
    "VAR",
    "Generator",
    "PixelSNAIL",
    "Sampling",
    "build",
    "check_tokenizer",
    "configure",
    "for_tokenizer",
]
