"""I3D trained on Kinetics-400 (Carreira and Zisserman, 2017), the network of FVD, and the two resizes that feed it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from tokbench import weights
from tokbench.errors import TokbenchError
from tokbench.metrics.extractors import exact_convolutions, register_extractor
from tokbench.results.fvd_protocols import Resize

NAME = "i3d-k400"
CLASSES = 400
MIN_FRAMES = 9  # of fewer, one is left after the halvings of time, and the last pooling takes two
SIDE = 224
_EPS = 1e-3  # of its BatchNorms, which have no scale

RESIZES: tuple[Resize, ...] = ("tf1", "half-pixel")

# After which block a max pooling follows, with its kernel and stride in (T, H, W).
_POOLS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "Conv3d_1a_7x7": ((1, 3, 3), (1, 2, 2)),
    "Conv3d_2c_3x3": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3c": ((3, 3, 3), (2, 2, 2)),
    "Mixed_4f": ((2, 2, 2), (2, 2, 2)),
}
_STEM = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
_MIXED = tuple(f"Mixed_{block}" for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"))


class I3D:
    """uint8 videos to the 400 logits of every clip, averaged over time: what FVD compares.

    The logits, not the features of the pooling below them: so do TF-GAN, MAGVIT, VideoGPT and StyleGAN-V. Padding is
    TensorFlow's "SAME", which at stride 2 is one more behind than before.

    Args:
        resize: how frames become 224 x 224, without a crop. ``"tf1"`` is TensorFlow 1's bilinear resize (no half
            pixel centres; TF-GAN, MAGVIT), ``"half-pixel"`` torch's (VideoGPT, StyleGAN-V, LARP).
        state: tensors by name; by default the cached ones (``tokbench weights get i3d-k400``).

    Raises:
        TokbenchError: an unknown resize, or weights that are not in the cache.
    """

    dim = CLASSES

    def __init__(
        self, device: torch.device | str = "cpu", resize: Resize = "tf1", state: Mapping[str, Tensor] | None = None
    ) -> None:
        if resize not in RESIZES:
            raise TokbenchError(f"I3D has no resize {resize!r} (known: {', '.join(RESIZES)})")
        self.resize, self.device = resize, torch.device(device)
        self.name = f"{NAME}-{resize}"
        self.digest = f"{weights.digest(NAME)}-{resize}" if state is None else "given"
        self.convolutions = {
            name: (kernel.to(self.device), bias.to(self.device))
            for name, (kernel, bias) in _folded(weights.load(NAME) if state is None else state).items()
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, T, H, W), T of at least 9 -> float32 (B, 400). ``TokbenchError``: anything else."""
        check_videos("FVD", images)
        together = 1 if self.device.type == "cpu" else 16  # a clip's first features fill a CPU's cache
        with exact_convolutions():
            parts = [self._logits(part.to(self.device)) for part in images.split(together)]
        return torch.cat(parts) if parts else torch.zeros(0, CLASSES, device=self.device)

    def _logits(self, videos: Tensor) -> Tensor:
        x = resized(videos, self.resize) / 127.5 - 1
        for name in (*_STEM, *_MIXED):
            x = self._mixed(name, x) if name in _MIXED else self._convolve(name, x, 2 if name == _STEM[0] else 1)
            if name in _POOLS:
                x = _max_pool(x, *_POOLS[name])
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        kernel, bias = self.convolutions["Logits.Conv3d_0c_1x1"]
        return F.conv3d(x, kernel, bias).mean(dim=(2, 3, 4))

    def _mixed(self, name: str, x: Tensor) -> Tensor:
        """Four branches side by side: 1, 1 then 3, 1 then 3, and a max pooling then 1."""
        first, second, third, pooled = (f"{name}.Branch_{branch}.Conv3d" for branch in range(4))
        branches = [self._convolve(f"{first}_0a_1x1", x)]
        branches += [self._convolve(f"{b}_0b_3x3", self._convolve(f"{b}_0a_1x1", x)) for b in (second, third)]
        branches.append(self._convolve(f"{pooled}_0b_1x1", _max_pool(x, (3, 3, 3), (1, 1, 1))))
        return torch.cat(branches, dim=1)

    def _convolve(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel, bias = self.convolutions[name]
        x = F.pad(x, same_padding(x.shape[2:], kernel.shape[2:], (stride,) * 3))
        return F.conv3d(x, kernel, bias, stride).relu_()


def check_videos(name: str, videos: Tensor) -> None:
    """uint8 (B, 3, T, H, W) of enough frames, or a ``TokbenchError`` that says what was given."""
    if videos.dtype != torch.uint8 or videos.ndim != 5 or videos.shape[1] != 3:
        kind = f"{str(videos.dtype).removeprefix('torch.')} {tuple(videos.shape)}"
        raise TokbenchError(f"{name}: videos must be uint8 (B, 3, T, H, W), got {kind}")
    if (reason := too_short(name, videos.shape[2])) is not None:
        raise TokbenchError(reason)
    if 0 in videos.shape[3:]:
        raise TokbenchError(f"{name}: frames of {videos.shape[3]}x{videos.shape[4]} pixels have nothing to look at")


def too_short(name: str, frames: int) -> str | None:
    """Why clips of ``frames`` frames cannot go through I3D."""
    if frames >= MIN_FRAMES:
        return None
    return f"{name} needs clips of at least {MIN_FRAMES} frames, which I3D halves three times; these have {frames}"


def resized(videos: Tensor, resize: Resize, side: int = SIDE) -> Tensor:
    """uint8 (B, C, T, H, W) -> float32 (B, C, T, side, side) in 0..255, bilinear without smoothing."""
    images = rearrange(videos, "b c t h w -> (b t) c h w").float()
    if resize == "half-pixel":
        images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    else:
        images = _lerp(_lerp(images, -1, side), -2, side)
    return rearrange(images, "(b t) c h w -> b c t h w", b=len(videos))


def _lerp(images: Tensor, axis: int, side: int) -> Tensor:
    """TensorFlow 1's ``resize_bilinear`` along one axis: place i comes from i * old / new."""
    old = images.shape[axis]
    at = torch.arange(side, device=images.device, dtype=torch.float32) * (old / side)
    low = at.floor().long()
    share = (at - low).view(-1, *(1,) * (-axis - 1))
    below, above = images.index_select(axis, low), images.index_select(axis, (low + 1).clamp(max=old - 1))
    return torch.lerp(below, above, share)


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """TensorFlow's "SAME" for ``F.pad``, last axis first: the odd one goes behind."""
    padding: list[int] = []
    for length, taps, step in zip(reversed(size), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-length // step) - 1) * step + taps - length, 0)
        padding += [total // 2, total - total // 2]
    return padding


def _max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    # After a ReLU zeros are as good as minus infinity, since no window is all padding.
    return F.max_pool3d(F.pad(x, same_padding(x.shape[2:], kernel, stride)), kernel, stride)


def _folded(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernel and bias of every convolution, with the BatchNorm behind it multiplied in."""
    found = {}
    for key, kernel in state.items():
        if not key.endswith(".Conv_0.kernel"):
            continue
        name = key.removeprefix("params.").removesuffix(".Conv_0.kernel")
        if f"params.{name}.Conv_0.bias" in state:
            found[name] = (kernel, state[f"params.{name}.Conv_0.bias"])
            continue
        statistics = f"batch_stats.{name}.BatchNorm_0"
        scale = (state[f"{statistics}.var"].double() + _EPS).rsqrt()
        shift = (state[f"{statistics}.mean"].double() * scale).flatten()
        bias = state[f"params.{name}.BatchNorm_0.bias"].double() - shift
        found[name] = ((kernel.double() * scale).float(), bias.float())
    return found


for _resize in RESIZES:
    register_extractor(f"{NAME}-{_resize}")(functools.partial(I3D, resize=_resize))
