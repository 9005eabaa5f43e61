"""From a generator and held-out codes to the line that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor

from tokbench import threads
from tokbench.config.grid import Size, axes, pixels
from tokbench.data.base import measured_on
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.base import Generator
from tokbench.generators.building import image_size
from tokbench.generators.cliff import NAME, cliff_value
from tokbench.generators.condition import Condition
from tokbench.generators.exact import Exact
from tokbench.generators.rate import bits_by_position, entropy_bits, fixed_bits, model_bits
from tokbench.models import Tokenizer
from tokbench.results import environment
from tokbench.results.record import DataRef, MetricValue, Rate, Record, defined


def rate_metrics(
    generator: Generator,
    tokenizer: Tokenizer,
    codes: Tensor,
    condition: Tensor | None = None,
    *,
    image_size: Size,
    protocol: str,
    batch_size: int = 16,
    train_images: int | None = None,
) -> dict[str, MetricValue]:
    """``nll_bits_per_code``, ``model_bpp``, ``entropy_bpp`` and ``fixed_bpp`` of generator codes (n, *grid, D).

    ``mlm`` has no exact likelihood: its two are ``nll_bound_bits_per_code`` and ``model_bound_bpp`` instead. Where the
    first frames of a clip are given, all four are of the others, and the protocol says so. An exact NLL keeps the mean
    bits of each position, ``by_position``, and has an ``entropy_cliff`` where it is known how many images
    were trained on.
    """
    by_position: list[float] = []
    if isinstance(generator, Exact):
        each = bits_by_position(generator, codes, condition, batch_size)
        bits, by_position = each.sum(1), each.mean(0).tolist()
    else:
        bits = model_bits(generator, codes, condition, batch_size)
    n, area = len(codes), pixels(image_size)
    quantizer: Any = tokenizer.quantizer
    stored = quantizer.join(codes.cpu())
    if frames := generator.config.generator.frames:
        stored, protocol = stored[:, generator.config.given :], f"{protocol}-given{frames}"
        area -= pixels((frames, *axes(image_size)[1:]))
    fixed = fixed_bits(tuple(int(k) for k in quantizer.codebook_sizes), stored[0, ..., 0].numel())
    limits = generator.limits_in_order if isinstance(generator, Autoregressive) else generator.limits
    by_limit = [] if limits is None else [math.log2(size) for size in limits[generator.settled :].tolist()]
    if by_limit:
        fixed = math.fsum(by_limit)
    bound = "" if generator.exact_nll else "_bound"
    spread = float(bits.std()) / math.sqrt(n) if n > 1 else None

    def metric(name: str, value: float, scale: float | None = None) -> MetricValue:
        stderr = spread * scale if scale is not None and spread is not None else None
        return defined(name, value, n, f"{protocol}/{name}-1", stderr=stderr)

    mean, codes_per_image = float(bits.mean()), generator.codes_per_image
    nll, model = f"nll{bound}_bits_per_code", f"model{bound}_bpp"
    found = {
        nll: metric(nll, mean / codes_per_image, 1 / codes_per_image),
        model: metric(model, mean / area, 1 / area),
        "entropy_bpp": metric("entropy_bpp", entropy_bits(stored) / area),
        "fixed_bpp": metric("fixed_bpp", fixed / area),
    }
    if by_position:
        found[nll] = replace(found[nll], extra={"by_position": [round(value, 5) for value in by_position]})
        if train_images is not None and train_images > 1:
            each_fixed = by_limit or [float(quantizer.bits_per_vector)] * len(by_position)
            found[NAME] = cliff_value(by_position, each_fixed, train_images, n, protocol)
    return found


def generator_record(
    generator: Generator,
    tokenizer: Tokenizer,
    metrics: dict[str, MetricValue],
    *,
    name: str,
    recipe: dict[str, Any],
    cell: str,
    seed: int | None,
    data: DataRef | None = None,
    training: dict[str, Any] | None = None,
    timing: dict[str, Any] | None = None,
    artifacts: dict[str, str] | None = None,
    weights_which: str = "ema",
) -> Record:
    """One record of kind ``generator``.

    Args:
        metrics: of ``rate_metrics``, and whatever else was measured (gFID).
        recipe: the resolved recipe, as JSON.
        cell: the content address of what was asked for.
        data: what was measured on.
        weights_which: ``"ema"``, ``"live"`` or ``"published"``.
    """
    config = generator.config
    size = image_size(generator, tokenizer)
    return Record.of(
        id=environment.new_id(),
        cell=cell,
        kind="generator",
        name=name,
        seed=seed,
        quantizer=tokenizer.config.quantizer.model_dump(mode="json"),
        model={
            **config.generator.model_dump(mode="json"),
            "architecture": config.generator.name,
            "parameters": sum(p.numel() for p in generator.parameters()),
            "image_size": size,
            "num_classes": config.num_classes,
            "vocabulary": list(config.vocabulary),
        },
        data=data,
        weights={
            "which": weights_which,
            "sha256": generator.sha256(),
            "tokenizer_sha256": config.tokenizer.sha256 if config.tokenizer else tokenizer.sha256(),
        },
        rate=Rate(**tokenizer.rate(size)),
        metrics=metrics,
        training=training or {},
        timing=timing or {},
        **environment.provenance(),
        recipe=recipe,
        recipe_hash=environment.content_hash(recipe) if recipe else None,
        artifacts=artifacts or {},
    )


class HeldOut(NamedTuple):
    """A split of images as a generator sees it."""

    codes: Tensor  # (n, *grid, D)
    condition: Tensor  # (n, ...)
    data: DataRef
    texts: tuple[str, ...]  # the captions, where the condition asked for them


def held_out_codes(
    tokenizer: Tokenizer,
    images: Any,
    condition: Condition,
    *,
    batch_size: int = 64,
    partners: Callable[[Tensor], Tensor] | None = None,
    size: Size | None = None,
) -> HeldOut:
    """Codes and conditions of a split of images (``open_images``); where a ``size`` in pixels is given, of the images'
    middles."""
    from tokbench.data import loader
    from tokbench.data.maps import to_model

    quantizer: Any = tokenizer.quantizer
    config, device = tokenizer.config, next(tokenizer.parameters()).device
    codes, conditions, texts = [], [], []
    condition.ask(images)
    for batch in loader(images, batch_size=batch_size, shuffle=False, seed=0):
        threads.adapt()
        given = to_model(_middle(batch["image"], size).to(device), config.kind, config.channels)
        codes.append(quantizer.subcodes(tokenizer.encode(given)).cpu())
        whole: dict[str, Any] = {**batch, "codes": codes[-1]}
        if partners is not None and "partner" in whole:
            whole["condition"] = partners(_middle(whole["partner"], size))
        if "coordinates" in whole:
            whole["coordinates"] = _middle(whole["coordinates"], size)
        conditions.append(condition.of(whole).cpu())
        texts += whole.get("text", [])
    stack = torch.cat(codes)
    return HeldOut(stack, torch.cat(conditions), measured_on(images, len(stack)), tuple(texts))


def _middle(samples: Tensor, size: Size | None) -> Tensor:
    """Of (B, C, H, W) the middle of a size."""
    if size is None:
        return samples
    (height, width), (down, across) = axes(size), samples.shape[2:]
    top, left = (down - height) // 2, (across - width) // 2
    return samples[..., top : top + height, left : left + width]
