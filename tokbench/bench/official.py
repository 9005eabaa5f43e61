"""Published models as their authors' package, diffusers or transformers builds them: full size, random weights."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError, did_you_mean


@dataclass(frozen=True)
class Official:
    """A model of another package.

    Args:
        package: what is installed for it.
        settings: the importer's configuration of the same model.
        side: of its images.
        build: the module, weights drawn.
        encode: (module, images in [-1, 1]) -> codes.
        codes_agree: false where the package is known to search its codebook otherwise than the model's authors.
    """

    package: str
    settings: dict[str, Any]
    side: int
    build: Callable[[dict[str, Any]], nn.Module]
    encode: Callable[[Any, Tensor], Tensor]
    codes_agree: bool = True

    def module(self) -> nn.Module:
        """In evaluation mode, codebook spread out, the same every time. TokbenchError where the package is missing."""
        torch.manual_seed(0)
        try:
            module = self.build(self.settings)
        except ImportError as error:
            raise TokbenchError(f"{self.package} is not here ({error}): pip install {self.package}") from None
        torch.manual_seed(1)
        for name, parameter in module.named_parameters():
            if name == "quantize.embedding.weight":
                nn.init.normal_(parameter)
        return module.eval()

    @property
    def version(self) -> str:
        """The package's name and version. TokbenchError where it is missing."""
        try:
            return f"{self.package} {importlib.metadata.version(self.package)}"
        except importlib.metadata.PackageNotFoundError:
            raise TokbenchError(f"{self.package} is not here: pip install {self.package}") from None


def _taming(settings: dict[str, Any]) -> nn.Module:
    from tokbench.bench.peers import Taming
    from tokbench.config.model import TokenizerConfig
    from tokbench.models import Tokenizer
    from tokbench.pretrained.taming import quantizer_of

    layers = settings["ddconfig"]
    model = {
        "architecture": "vqgan",
        "channels": layers["ch"],
        "multipliers": layers["ch_mult"],
        "blocks": layers["num_res_blocks"],
        "attention_resolutions": layers["attn_resolutions"],
        "latent_channels": layers["z_channels"],
        "code_channels": settings["embed_dim"],
    }
    shape = {"image_size": layers["resolution"], "model": model, "quantizer": quantizer_of(settings["n_embed"])}
    return Taming(Tokenizer(TokenizerConfig.model_validate(shape)))


def _diffusers(settings: dict[str, Any]) -> nn.Module:
    module: nn.Module = importlib.import_module("diffusers").VQModel(**settings)
    return module


def _transformers(kind: str) -> Callable[[dict[str, Any]], nn.Module]:
    def build(settings: dict[str, Any]) -> nn.Module:
        package = importlib.import_module("transformers")
        module: nn.Module = getattr(package, kind)(getattr(package, f"{kind}Config")(**settings))
        return module

    return build


def _tokens(module: Any, images: Tensor) -> Tensor:
    tokens: Tensor = module.encode(images).image_tokens
    return tokens


def _of_diffusers(module: Any, images: Tensor) -> Tensor:
    codes: Tensor = module.quantize(module.encode(images).latents)[2][2]
    return codes


_DDCONFIG = {"ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "z_channels": 256}
_MOVQ = {
    "block_out_channels": [128, 256, 256, 512],
    "down_block_types": [*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3],
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_type": "spatial",
    "num_vq_embeddings": 16384,
    "vq_embed_dim": 4,
}

OFFICIAL: dict[str, Official] = {
    "taming": Official(
        "taming-transformers-rom1504",
        {"n_embed": 16384, "embed_dim": 256, "ddconfig": {**_DDCONFIG, "resolution": 256}},
        256,
        _taming,
        lambda module, images: module.encode(images),
    ),
    "diffusers": Official("diffusers", _MOVQ, 256, _diffusers, _of_diffusers),
    "chameleon": Official("transformers", {"resolution": 512}, 512, _transformers("ChameleonVQVAE"), _tokens),
    "janus": Official("transformers", {}, 384, _transformers("JanusVQVAE"), _tokens, codes_agree=False),
}
"""By the importer of their files."""


def official(name: str) -> Official:
    """TokbenchError, which says what was meant, where there is none."""
    if name not in OFFICIAL:
        raise TokbenchError(
            f"no package is known that has the model of {name!r}{did_you_mean(name, OFFICIAL)} ({', '.join(OFFICIAL)})"
        )
    return OFFICIAL[name]
