"""VAR's tokenizer (FoundationVision/VAR ``models/vqvae.py``): one flat state dict, ``vae_ch160v4096z32.pth``.

No configuration is published with it: what its weights do not show has the released model's value. A JSON of the
constructor's arguments (``v_patch_nums``, ``quant_resi``, ``using_znorm``, ``beta``) says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from quantizers.functional.pyramid import VAR_SCALES
from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import agree, count, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .var_transformer import IMPORTER
from .vqgan_family import TAMING, attention_at_lowest, middle_attention, model_settings, rename

PHI, MONITOR = "quantize.quant_resi.", "quantize.ema_vocab_hit_SV"
BETA, QUANT_RESI = 0.25, 0.5


def recognises(names: Collection[str]) -> bool:
    """By the attention's one convolution for queries, keys and values, or by the phi."""
    return CODEBOOK in names and (MONITOR in names or any(name.startswith(PHI) for name in names))


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the state dict and, where there is one, a JSON of the arguments."""
    tensors, other = rename(_apart(given), TAMING, path)
    said = section(config, "v_patch_nums") or section(config, "vocab_size")
    model = model_settings(tensors, said.get("ddconfig") or {}, path)
    last = len(model["multipliers"]) - 1
    codes = size(given, CODEBOOK, 0, path)
    kernel = size(tensors, "encoder.to_code.weight", 2, path)
    agree(
        said,
        {"vocab_size": codes, "z_channels": model["latent_channels"], "ch": model["channels"], "quant_conv_ks": kernel},
        path,
    )
    scales = _scales(given, said, path)
    phi, used = _phi(given)
    ratio = abs(float(said.get("quant_resi", QUANT_RESI if phi else 0)))
    agree({"quant_resi": bool(ratio)}, {"quant_resi": bool(phi)}, path)
    shared = f"{PHI}0.weight" not in given
    quantizer = {
        "name": "ms-rq",
        "codebook_size": codes,
        "scales": scales,
        "quant_resi": ratio,
        "share_quant_resi": len(phi["phi_weight"]) if phi and shared else (4 if shared else 0),
        "normalized_search": bool(said.get("using_znorm", False)),
        "codebook_update": "gradient",
        "beta": float(said.get("beta", BETA)),
    }
    lowest = attention_at_lowest(tensors, path, optional=True)
    attention = {"attention": lowest, "middle_attention": middle_attention(tensors)}
    settings = {"architecture": "var", **model, **attention, "code_kernel": kernel}
    monitors = sorted(other & {MONITOR})
    return TokenizerPlan(
        config=config_of_weights(tensors, 2**last * scales[-1], settings, quantizer, path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK], **phi},
        layout=TAMING,
        ignored={"monitoring": monitors},
        left_over=sorted(other - {CODEBOOK, *used, *monitors}),
    )


def _apart(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The attention's joint convolution as three, as taming has them."""
    found: dict[str, Tensor] = {}
    for name, tensor in given.items():
        start, joint, end = name.rpartition(".qkv.")
        if joint and tensor.shape[0] % 3 == 0:
            found |= {f"{start}.{part}.{end}": t for part, t in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            found[name] = tensor
    return found


def _scales(given: dict[str, Tensor], said: dict[str, Any], path: str) -> list[int]:
    """The sides of the pyramid: as the configuration says, else the published ten."""
    scales = [int(side) for side in said.get("v_patch_nums") or VAR_SCALES]
    if MONITOR in given and (rows := len(given[MONITOR])) != len(scales):
        raise TokbenchError(
            f"{path}: a pyramid of {rows} scales, and {len(scales)} are said; give a JSON with its v_patch_nums"
        )
    return scales


def _phi(given: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """The phi in order, for ``MSRQ.load_codebook``, and their official names."""
    for stem in (f"{PHI}qresi.", f"{PHI}qresi_ls.{{}}.", f"{PHI}{{}}."):
        pattern = stem.replace(".", r"\.").replace("{}", r"(\d+)") + "weight"
        number = 1 if stem.format(0) == stem and f"{stem}weight" in given else 0
        number = number or (count(given, pattern) if "{}" in stem else 0)
        if number:
            names = {key: [f"{stem.format(i)}{key}" for i in range(number)] for key in ("weight", "bias")}
            stacked = {f"phi_{key}": torch.stack([given[n] for n in of]) for key, of in names.items()}
            return stacked, {name for of in names.values() for name in of}
    return {}, set()


register(Importer("var", recognises, read, generator=IMPORTER))
