"""Codebook collapse, seen while it happens: usage over the last steps, and what to change for this quantizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quantizers.usage import Usage
from tokbench.config.model import QuantizerConfig

BELOW = 0.1  # of the codes that this many equally likely ones would have shown
WINDOWS = 3  # in a row: one poor window is common while a codebook finds its place

# Settings against collapse, the likeliest cure first; one that a recipe has already is left out.
# Low-dimensional, l2-normalised codes: Yu et al. 2021, arXiv:2110.04627, section 3.2. Restarts and k-means: Dhariwal
# et al. 2020, arXiv:2005.00341, section 3.1. Weight of the codebook's entropy: Yu et al. 2023, arXiv:2310.05737, eq. 5.
_CURES: dict[str, list[tuple[str, Any]]] = {
    "vq": [
        ("codebook_update", "ema"),
        ("restart_threshold", 1.0),
        ("codebook_dim", 8),
        ("l2_norm", True),
        ("kmeans_init", True),
    ],
    "rq": [("restart_threshold", 1.0), ("kmeans_init", True), ("codebook_dim", 8), ("decay", 0.99)],
    "lfq": [("diversity_weight", 2.0), ("norm", "layer"), ("entropy_weight", 0.2)],
    "bsq": [("diversity_weight", 2.0), ("entropy_weight", 2.0)],
    "ibq": [("entropy_weight", 0.4), ("codebook_dim", 32)],
    "gumbel": [("kl_weight", 0.01), ("temperature_end", 0.5)],
    "simvq": [("codebook_dim", 32), ("rotation_trick", True)],
    "ms-rq": [("codebook_update", "ema"), ("restart_threshold", 1.0), ("kmeans_init", True)],
}
# vq restarts codes by default only where a moving average learns them.
_IN_EFFECT: dict[str, dict[str, Any]] = {
    "vq": {"codebook_update": "ema", "restart_threshold": 1.0},
    "rq": {"restart_threshold": 1.0, "decay": 0.99},
    "ms-rq": {"codebook_update": "ema", "restart_threshold": 1.0},
}
_ALWAYS = [
    "a lower training.learning_rate",
    "a longer training.warmup_steps",
    "another quantizer (fsq has no codebook to collapse)",
    "a smaller codebook",
]
_REACHABLE = "usage_of_reachable"


def usage_of_window(usage: Usage, names: Sequence[str] = ()) -> dict[str, float]:
    """Means over the depths of a merged histogram.

    ``usage``: the fraction of the codebook seen; ``usage_of_reachable``: the same, over the fraction that as many
    draws from equally likely codes would have shown (a window of 1,000 codes cannot show 16,384); ``perplexity``. The
    same of each of the histogram's parts, as ``usage_1x1`` by their ``names``.
    """
    found = _of_one(usage)
    for name, part in zip(names, usage.parts, strict=True):
        found |= {f"{key}_{name}": value for key, value in _of_one(part).items()}
    return found


def _of_one(usage: Usage) -> dict[str, float]:
    draws = usage.total
    reachable = [1.0 if k == 1 else -math.expm1(draws * math.log1p(-1 / k)) for k in usage.sizes]
    seen = usage.usage
    shares = [fraction / most if most else 0.0 for fraction, most in zip(seen, reachable, strict=True)]
    depths = max(1, len(seen))
    return {
        "usage": sum(seen) / depths,
        _REACHABLE: sum(shares) / depths,
        "perplexity": sum(usage.perplexity) / depths if draws else 0.0,
    }


def least_used(values: Mapping[str, float]) -> tuple[str, float] | None:
    """Of the parts of a window, which codes are used least, and how much of what could be; None without parts."""
    parts = {k.removeprefix(f"{_REACHABLE}_"): v for k, v in values.items() if k.startswith(f"{_REACHABLE}_")}
    return min(parts.items(), key=lambda item: item[1]) if parts else None


def cures(quantizer: QuantizerConfig) -> list[str]:
    """Three things to change, as recipe settings where they are settings."""
    name = quantizer.name
    if name == "ms-rq" and (inner := quantizer.options.get("quantizer", "vq")) != "vq":
        name = inner
    have = {**_IN_EFFECT.get(name, {}), **quantizer.options}
    if quantizer.options.get("codebook_update") == "gradient" and "restart_threshold" not in quantizer.options:
        have.pop("restart_threshold", None)
    wanted = [
        f"quantizer.{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in _CURES.get(name, [])
        if have.get(key) != value
    ]
    always = [text for text in _ALWAYS if not (name == "fsq" and "fsq" in text)]
    return [*wanted, *always][:3]


class CollapseWatch:
    """Warns once when usage stays low for ``WINDOWS`` windows, and again only after it has recovered."""

    def __init__(self, quantizer: QuantizerConfig) -> None:
        self.quantizer = quantizer
        self.low, self.warned = 0, False

    def look(self, step: int, values: Mapping[str, float]) -> str | None:
        """The warning, where this window makes it due."""
        share, least = values.get(_REACHABLE), least_used(values)
        if share is None:
            return None
        of, what = "", "the codebook collapses"
        if share >= BELOW and least is not None:
            share, of, what = least[1], f"_{least[0]}", f"the codes at {least[0]} collapse"
        if share >= BELOW:
            self.low, self.warned = 0, False
            return None
        self.low += 1
        if self.low < WINDOWS or self.warned:
            return None
        self.warned = True
        return (
            f"step {step}: {what}: {values[f'usage{of}']:.2%} of the codes in use, perplexity "
            f"{values[f'perplexity{of}']:.1f}, for {self.low} windows; try {', or '.join(cures(self.quantizer))}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"low": self.low, "warned": self.warned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.low, self.warned = state["low"], state["warned"]
