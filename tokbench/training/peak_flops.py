"""What devices can do at most: dense matrix products, FLOP/s, as their makers state it (without sparsity).

Sources: NVIDIA's data sheets of H200, H100, A100, V100, T4, L4, L40 and L40S and architecture papers of GA102 (RTX
3090, RTX A6000) and AD102 (RTX 4090, RTX 6000 Ada); AMD's data sheet of the MI300X. Where a sheet gives the figure
with sparsity, half of it stands here. 16-bit products accumulate in fp32.
"""

from __future__ import annotations

import re

_TERA = 1e12
# Name as the driver reports it -> (bf16 and fp16, tf32, fp32), teraFLOP/s; the first name that fits counts.
_PEAK: list[tuple[str, tuple[float, float, float]]] = [
    ("H200 NVL", (835.5, 417.5, 60.0)),
    ("H200", (989.5, 494.7, 67.0)),
    ("H100 NVL", (835.5, 417.5, 60.0)),
    ("H100 PCIe", (756.0, 378.0, 51.0)),
    ("H100", (989.5, 494.7, 67.0)),
    ("A100", (312.0, 156.0, 19.5)),
    ("L40S", (362.0, 183.0, 91.6)),
    ("L40", (181.0, 90.5, 90.5)),
    ("L4", (121.0, 60.0, 30.3)),
    ("RTX 6000 Ada", (364.2, 182.1, 91.1)),
    ("RTX 4090", (165.2, 82.6, 82.6)),
    ("RTX A6000", (154.8, 77.4, 38.7)),
    ("RTX 3090", (71.0, 35.6, 35.6)),
    ("MI300X", (1307.4, 653.7, 163.4)),
]
# fp16 only: they have no bf16 units.
_PEAK_FP16: list[tuple[str, tuple[float, float]]] = [
    ("V100-SXM2", (125.0, 15.7)),
    ("V100-PCIE", (112.0, 14.0)),
    ("Tesla T4", (65.0, 8.1)),
]


def peak_flops(device: str, precision: str, tf32: bool = False) -> float | None:
    """FLOP/s of one device by the name its driver gives it; None where it is not known.

    precision: ``fp32``, ``bf16`` or ``fp16``. tf32: whether fp32 products may run as TF32, whose peak then counts.
    """
    for name, (half, reduced, single) in _PEAK:
        if _is(name, device):
            return (half if precision in ("bf16", "fp16") else reduced if tf32 else single) * _TERA
    for name, (half, single) in _PEAK_FP16:
        if _is(name, device) and precision != "bf16":
            return (half if precision == "fp16" else single) * _TERA
    return None


def _is(name: str, device: str) -> bool:
    # Not the smaller or larger relatives of the same name, nor a slice of a device.
    return bool(re.search(rf"\b{name}\b(?! (?:D|Ti|SUPER|Laptop)\b)", device)) and "MIG" not in device
