"""IBQ (TencentARC/SEED-Voken ``IBQ``): taming's names, but a code is the vector with the largest inner product.

A Lightning ``state_dict`` with live and EMA weights, which evaluation uses, and a LightningCLI YAML. Only the YAML, or
whoever imports, can tell it from a VQ-GAN.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from . import taming
from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import require
from .tokenizer_config import config_of_weights

# IBQ's and its loss's defaults, for what the configuration does not say (the released 16384-code model's).
BETA, ENTROPY, TEMPERATURE = 0.25, 0.05, 0.01


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the YAML (``model.init_args.{ddconfig, n_embed, embed_dim, ...}``)."""
    plan = taming.read(given, config, path)
    said = section(config, "ddconfig")
    require(said, path, l2_normalize=False)
    sample, batch = (float(said.get(key, 1.0)) for key in ("sample_minimization_weight", "batch_maximization_weight"))
    if sample != batch:
        raise TokbenchError(
            f"{path}: sample_minimization_weight {sample:g} and batch_maximization_weight {batch:g} that differ are "
            "not supported"
        )
    weight = float(section(said, "entropy_loss_weight").get("entropy_loss_weight", ENTROPY))
    quantizer = {
        "name": "ibq",
        "codebook_size": len(plan.codebook["codebook"]),
        "beta": float(said.get("beta", BETA)),
        "entropy_weight": weight * sample if said.get("use_entropy_loss", True) else 0.0,
        "entropy_temperature": float(said.get("entropy_temperature", TEMPERATURE)),
    }
    model = plan.config.model.model_dump(exclude_unset=True)
    plan.config = config_of_weights(plan.tensors, plan.config.image_size, model, quantizer, path)
    return plan


register(Importer("ibq", taming.recognises, read, evaluates="ema", classes=("IBQ",), like="taming"))
