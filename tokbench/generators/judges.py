"""Classifiers that judge drawn images: the networks that rejection sampling ranks by."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench import weights
from tokbench.errors import TokbenchError, did_you_mean, first_line, shown
from tokbench.models.fitting import load_exactly
from tokbench.weights import content_hash
from tokbench.weights.convert import read_state

PACKAGED = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
KNOWN = (*PACKAGED, "timm:NAME", "timm:NAME=FILE")
TEXTS = "clip:"  # what the names of judges of texts begin with, see ``text_judge``
_MEASURES = ("inception-fid", "inception_v3", "inception-v3")


class Judge:
    """The probabilities of classes that a network sees in images.

    Args:
        network: float (B, 3, h, w) to logits (B, classes), in evaluation mode.
        config: timm's ``pretrained_cfg`` of it: the size, crop, interpolation, mean and deviation of its input.
    """

    measure = "probability"  # what ``sure`` gives

    def __init__(self, name: str, network: nn.Module, config: dict[str, Any], device: str = "cpu") -> None:
        self.name, self.network = name, network.to(device).eval()
        self.digest, self.device = content_hash(network.state_dict()), torch.device(device)
        self.side, self.crop = int(config["input_size"][-1]), float(config["crop_pct"])
        self.mode = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
        self.mean, self.deviation = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W), RGB or grey -> float32 (B, classes) on the CPU."""
        x = self.prepared(images).to(self.device)
        return torch.cat([self.network(part).float().softmax(-1).cpu() for part in x.split(64)])

    def sure(self, images: Tensor, asked: Sequence[Any]) -> Tensor:
        """Images (B, C, H, W) and the class asked for of each -> its probability, float32 (B,)."""
        return self(images).gather(1, torch.tensor(asked)[:, None])[:, 0]

    def prepared(self, images: Tensor) -> Tensor:
        """The middle of images whose shorter side is resized to the network's over its share of the crop."""
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise TokbenchError(f"--judge {self.name}: looks at images (RGB or grey), not at {tuple(images.shape)}")
        x = images.expand(-1, 3, -1, -1).float() / 255
        whole = round(self.side / self.crop)
        scale = whole / min(x.shape[2:])
        size = [max(self.side, round(side * scale)) for side in x.shape[2:]]
        x = F.interpolate(x, size, mode=self.mode, antialias=True, align_corners=False).clamp(0, 1)
        top, left = ((side - self.side) // 2 for side in size)
        return (x[..., top : top + self.side, left : left + self.side] - self.mean) / self.deviation


def check_judge(name: str, asked: str = "--judge") -> None:
    """TokbenchError where ``name`` cannot be a judge; what it is of is not read. ``asked``: by what, in messages."""
    if name.startswith(TEXTS):
        raise TokbenchError(f"{asked} {name}: ranks by texts; a classifier is one of {', '.join(KNOWN)}")
    model, _, file = name.removeprefix("timm:").partition("=")
    if model.startswith(_MEASURES):
        raise TokbenchError(
            f"{asked} {name}: gFID and the Inception Score measure with this network, and would measure what it chose: "
            f"take another ({', '.join(KNOWN)})"
        )
    if name in PACKAGED:
        weights.require(name)
        return
    if not name.startswith("timm:"):
        raise TokbenchError(f"{asked} {shown(name)}: no such judge{did_you_mean(name, KNOWN)}")
    import timm

    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), 1)
        raise TokbenchError(f"{asked} {name}: timm has no model {model!r}{did_you_mean(model, near) if near else ''}")
    if "=" in name and not Path(file).is_file():
        raise TokbenchError(f"{asked} {name}: {file or 'its file'}: no such file")


def load_judge(name: str, classes: int, device: str = "cpu") -> Judge:
    """The judge of that name for a generator of so many classes.

    Raises:
        TokbenchError: no such network or weights, the network that measures, or one of another number of classes.
    """
    network, config = load_classifier(name)
    if (found := network.num_classes) != classes:
        raise TokbenchError(f"--judge {name}: knows {found} classes, and the generator draws {classes}")
    return Judge(name, network, config, device)


def load_classifier(name: str, asked: str = "--judge") -> tuple[Any, dict[str, Any]]:
    """The network of that name, and timm's ``pretrained_cfg`` of its input. Raises as ``load_judge``."""
    check_judge(name, asked)
    if name in PACKAGED:
        network = without_its_weights(name)
        network.load_state_dict(weights.load(name), strict=False)  # but for counters of batches
        return network, {**network.pretrained_cfg, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    model, _, file = name.removeprefix("timm:").partition("=")
    what = f"{asked} {name}"
    network = _from_file(what, model, Path(file)) if file else _from_hub(what, model)
    return network, network.pretrained_cfg


def without_its_weights(name: str) -> Any:
    """The network of that name with random weights, frozen."""
    import timm

    model = f"tf_{name.replace('-', '_')}" if name in PACKAGED else name.removeprefix("timm:").partition("=")[0]
    return timm.create_model(model).eval().requires_grad_(False)


def _from_hub(what: str, model: str) -> Any:
    import timm

    try:
        return timm.create_model(model, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = first_line(error)
        raise TokbenchError(f"{what}: the hub did not give its weights: {reason}") from None


def _from_file(what: str, model: str, file: Path) -> Any:
    """With the weights of a state dict, whose number of classes becomes the network's."""
    tensors = read_state(file)
    network = without_its_weights(f"timm:{model}")
    head = tensors.get(f"{network.pretrained_cfg['classifier']}.weight")
    if head is not None and head.ndim and 0 < len(head) != network.num_classes:
        network.reset_classifier(len(head))
    load_exactly(network, tensors, what)
    return network
