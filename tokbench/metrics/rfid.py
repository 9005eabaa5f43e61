"""rFID: reconstructions against the originals of the same split under the same crop."""

from __future__ import annotations

from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.registry import register


@register
class RFID(FrechetMetric):
    """Fréchet Inception distance between the reconstructions and their own originals.

    Against training images instead the number about doubles (LlamaGen: 2.19 and 4.28): that is ``rfid_train``.
    """

    name = "rfid"
    extractor, weights = "inception-fid", ("inception-fid",)


@register
class RFIDTrain(FrechetMetric):
    """Fréchet Inception distance between the reconstructions of one split and the *training* images."""

    name = "rfid_train"
    extractor, weights = "inception-fid", ("inception-fid",)
    reference_split = "train"
