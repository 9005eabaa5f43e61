"""Fréchet distances in earlier layers of the FID network, for sets too small for rFID and gFID.

A Fréchet distance needs more images than it has features: FID's 2048 ask for 2,049, the 192 of the second pooling for
193. Early layers see edges, colours and texture rather than objects, on a scale of their own: these are other numbers
than FID, under other names, and comparable only with themselves. The network stops at the layer it is asked for.
The layers are those that torch-fidelity (``feature_layer_fid``) and pytorch-fid (``--dims``) offer.
"""

from __future__ import annotations

from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.inception import NAME
from tokbench.metrics.registry import register


class _Reconstructions(FrechetMetric):
    weights, default = (NAME,), False


class _Generated(FrechetMetric):
    weights, default, tasks = (NAME,), False, ("generation",)


@register
class RFDInception64(_Reconstructions):
    """Reconstructions against their own originals in the 64 channels of Inception's first pooling."""

    name, extractor = "rfid_64", f"{NAME}-64"


@register
class RFDInception192(_Reconstructions):
    """Reconstructions against their own originals in the 192 channels of Inception's second pooling."""

    name, extractor = "rfid_192", f"{NAME}-192"


@register
class RFDInception768(_Reconstructions):
    """Reconstructions against their own originals in the 768 channels before Inception's auxiliary classifier."""

    name, extractor = "rfid_768", f"{NAME}-768"


@register
class GFDInception64(_Generated):
    """Generated images against real ones in the 64 channels of Inception's first pooling."""

    name, extractor = "gfid_64", f"{NAME}-64"


@register
class GFDInception192(_Generated):
    """Generated images against real ones in the 192 channels of Inception's second pooling."""

    name, extractor = "gfid_192", f"{NAME}-192"


@register
class GFDInception768(_Generated):
    """Generated images against real ones in the 768 channels before Inception's auxiliary classifier."""

    name, extractor = "gfid_768", f"{NAME}-768"
