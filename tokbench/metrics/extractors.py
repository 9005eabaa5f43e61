"""Feature spaces in which two sets of images are compared. Each carries the hash of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, did_you_mean


class Extractor(Protocol):
    """Images to features, without gradient."""

    name: str
    dim: int
    digest: str  # of the weights and the preprocessing inside: features of different digests never meet

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W), or clips (B, 3, T, H, W) -> float32 (B, dim)."""
        ...


Factory = Callable[[torch.device], Extractor]


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Convolutions in full float32: TF32, torch's default on a GPU, moves features in the third digit."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    precision = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = precision


_FACTORIES: dict[str, Factory] = {}


def register_extractor(name: str) -> Callable[[Factory], Factory]:
    """Decorator: a function from a device to an ``Extractor`` becomes known under ``name``."""

    def decorate(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ValueError(f"extractor {name!r} is declared twice")
        _FACTORIES[name] = factory
        return factory

    return decorate


def load_extractor(name: str, device: torch.device | str = "cpu") -> Extractor:
    """The extractor of that name on ``device``; ``TokbenchError`` when its weights are missing."""
    from tokbench.metrics import fd_dinov2, i3d, inception  # noqa: F401  (they register their extractors)

    if name not in _FACTORIES:
        raise TokbenchError(f"no feature extractor {name!r}{did_you_mean(name, _FACTORIES)}")
    return _FACTORIES[name](torch.device(device))


def extract(extractors: Mapping[str, Extractor], images: Tensor) -> dict[str, Tensor]:
    """``images`` (uint8, RGB or grey) in each of the spaces, by their names; layers of one ``network`` share a single
    pass through it. Grey images are looked at as RGB of three equal channels."""
    if images.shape[1] == 1:
        images = images.expand(-1, 3, *images.shape[2:])
    groups: dict[int, list[str]] = {}
    for name, extractor in extractors.items():
        groups.setdefault(id(getattr(extractor, "network", extractor)), []).append(name)
    found: dict[str, Tensor] = {}
    for together in groups.values():
        if len(together) == 1:
            found[together[0]] = extractors[together[0]](images)
        else:
            layers = [extractors[name] for name in together]
            network = layers[0].network  # type: ignore[attr-defined]
            found.update(zip(together, network(images, [layer.dim for layer in layers]), strict=True))
    return found
