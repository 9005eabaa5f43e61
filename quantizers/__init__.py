"""Vector quantizers for visual tokenizers: VQ, RQ, LFQ, FSQ, BSQ, SimVQ, IBQ, Gumbel, in one interface.

Needs torch and einops.

    quantized, indices, loss = RQ(dim=256, codebook_size=2048, depth=4)(z)

Every module of this package is imported here, so a new file with an ``@register``-ed class is all a quantizer needs.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from quantizers import functional  # noqa: E402
from quantizers.base import Quantizer  # noqa: E402
from quantizers.bsq import BSQ  # noqa: E402
from quantizers.fsq import FSQ  # noqa: E402
from quantizers.fvq import FVQ  # noqa: E402
from quantizers.gfq import GFQ  # noqa: E402
from quantizers.grouped import Grouped  # noqa: E402
from quantizers.gsq import GSQ  # noqa: E402
from quantizers.gumbel import Gumbel  # noqa: E402
from quantizers.ibq import IBQ  # noqa: E402
from quantizers.leech import Leech  # noqa: E402
from quantizers.lfq import LFQ  # noqa: E402
from quantizers.mcq import MCQ  # noqa: E402
from quantizers.mgvq import MGVQ  # noqa: E402
from quantizers.ms_rq import MSRQ  # noqa: E402
from quantizers.output import QuantizerOutput  # noqa: E402
from quantizers.palette import Palette  # noqa: E402
from quantizers.registry import build, configurations, get, names, options, register  # noqa: E402
from quantizers.residual import Residual  # noqa: E402
from quantizers.rq import RQ  # noqa: E402
from quantizers.simvq import SimVQ  # noqa: E402
from quantizers.third_party import from_vector_quantize_pytorch  # noqa: E402
from quantizers.usage import Usage  # noqa: E402
from quantizers.vcq import VCQ  # noqa: E402
from quantizers.vq import VQ  # noqa: E402

__all__ = [
    "BSQ",
    "FSQ",
    "FVQ",
    "GFQ",
    "GSQ",
    "IBQ",
    "LFQ",
    "MCQ",
    "MGVQ",
    "MSRQ",
    "RQ",
    "VCQ",
    "VQ",
    "Grouped",
    "Gumbel",
    "Leech",
    "Palette",
    "Quantizer",
    "QuantizerOutput",
    "Residual",
    "SimVQ",
    "Usage",
    "build",
    "from_vector_quantize_pytorch",
    "functional",
    "get",
    "names",
    "configurations",
    "options",
    "register",
]
