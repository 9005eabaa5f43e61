"""CHD: how far the codes that a generator draws are from those of images, by how often each occurs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics.base import Metric
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import CodeHistogram
from tokbench.results.definitions import Definition, Shown
from tokbench.results.record import MetricValue


@register
class CodebookHistogramDistance(Metric):
    """Hellinger distance between the histograms of real and of drawn codes, 0..1; the mean over depths.

    sqrt(1 - sum_k sqrt(p_k q_k)), as the code of Jia et al. 2026 (arXiv:2603.08064) has it. There both sets of images
    are encoded by a published TiTok; here the codes are those of the generator's own tokenizer, the drawn ones as they
    were drawn, so that values compare generators on one tokenizer. Of few codes the distance of equal distributions is
    above 0.
    """

    name, tasks, default = "chd", ("generation",), False
    axes = (2, 3)
    definition = Definition("CHD", "lower", "", Shown(4, over="codes", depths="alone"))

    def between(self, real: CodeHistogram, drawn: CodeHistogram, protocol: str) -> MetricValue:
        """The value of codes of held-out images and of drawn ones."""
        try:
            found = [hellinger(p, q) for p, q in zip(real.counts, drawn.counts, strict=True)]
        except TokbenchError as refusal:
            return self.result(None, drawn.n, protocol, note=str(refusal))
        fewest, size = min(real.codes, drawn.codes), max(real.codebook_sizes)
        note = f"only {fewest} positions for a codebook of {size}" if fewest < size else None
        mean = sum(found) / len(found)
        return self.result(mean, drawn.n, protocol, by_depth=found, note=note, n_reference=real.n)


def hellinger(p: Tensor, q: Tensor) -> float:
    """Of two histograms (K,), dense or sparse, of any number of codes each."""
    one, other = p.coalesce() if p.is_sparse else p, q.coalesce() if q.is_sparse else q
    totals = float(one.sum()), float(other.sum())
    if not all(totals):
        raise TokbenchError("CHD compares two sets of codes, and one of them is empty")
    if one.is_sparse:
        seen, others = one.indices()[0], other.indices()[0]
        at = torch.searchsorted(others, seen).clamp_max(len(others) - 1)
        counts = one.values().double() * other.values()[at].double() * (others[at] == seen)
    else:
        counts = one.double() * other.double()
    overlap = float(counts.sqrt().sum()) / math.sqrt(totals[0] * totals[1])
    return math.sqrt(max(0.0, 1 - overlap))
