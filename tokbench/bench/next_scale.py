"""Drawing speed on the same codes with equal parameters: scale by scale against one by one, with random weights."""

from __future__ import annotations

import torch

from quantizers.functional.pyramid import VAR_SCALES
from tokbench.bench.sampling import Timing, in_turns
from tokbench.config.generator import ARConfig, GeneratorConfig, GeneratorModel, VARGeneratorConfig
from tokbench.config.model import QuantizerConfig
from tokbench.generators import Generator, build
from tokbench.generators.sampling import Sampling

_CHANNELS = 32  # of VAR's code vectors


def models(width: int, heads: int, layers: int, vocabulary: int) -> dict[str, Generator]:
    """``var`` and ``ar`` on the 680 codes of ten scales up to 16x16, in evaluation mode."""
    places = sum(side * side for side in VAR_SCALES)
    sizes = {"width": width, "heads": heads, "layers": layers}
    pyramid = QuantizerConfig(name="ms-rq", dim=_CHANNELS, codebook_size=vocabulary, scales=list(VAR_SCALES))  # type: ignore[call-arg]
    settings: dict[str, GeneratorModel] = {
        "var": VARGeneratorConfig(**sizes, condition_by="shared-adaln"),
        "ar": ARConfig(**sizes, depth_layers=0, input="codes"),
    }
    found = {}
    for name, model in settings.items():
        config = GeneratorConfig(
            generator=model,
            shape=(places, 1),
            vocabulary=(vocabulary,),
            code_channels=_CHANNELS if name == "ar" else None,
            pyramid=pyramid if name == "var" else None,
        )
        found[f"MS-RQ {places}x1 by {name}"] = build(config).eval()
    return found


@torch.no_grad()
def compare_next_scale(
    batches: list[int],
    *,
    width: int,
    heads: int,
    layers: int,
    vocabulary: int,
    device: str,
    dtype: torch.dtype,
    turns: int = 3,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Timing]:
    """Both at every batch size, timed ``in_turns``."""
    torch.manual_seed(seed)
    sampling = sampling or Sampling()
    both = {name: m.to(device).cast(dtype) for name, m in models(width, heads, layers, vocabulary).items()}
    found = []
    for batch in batches:
        timed = in_turns(both, batch, device=device, turns=turns, sampling=sampling, seed=seed)
        for name, model in both.items():
            weights = list(model.parameters())
            found.append(
                Timing(
                    name=name,
                    batch=batch,
                    seconds=timed[name][0],
                    parameters=sum(p.numel() for p in weights if p.requires_grad),
                    memory=sum(p.numel() * p.element_size() for p in weights),
                    floor=None,
                    shape=model.config.shape,
                    generator=model.config.generator.name,
                )
            )
    return found
