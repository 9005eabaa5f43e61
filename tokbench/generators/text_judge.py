"""What ranks images drawn of texts: the cosine of CLIP's embeddings of image and text (Radford et al. 2021,
arXiv:2103.00020), by which RQ-Transformer's notebook orders what it draws (kakaobrain/rq-vae-transformer)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError, first_line, shown
from tokbench.generators.judges import TEXTS, Judge


class TextJudge(Judge):
    """A judge of texts in place of classes.

    Args:
        network: a ``transformers.CLIPModel``.
        words: its tokenizer.
    """

    measure = "cosine"

    def __init__(self, name: str, network: nn.Module, config: dict[str, Any], words: Any, device: str = "cpu") -> None:
        super().__init__(name, network, config, device)
        self.words = words

    @torch.no_grad()
    def sure(self, images: Tensor, asked: Sequence[Any]) -> Tensor:
        """uint8 (B, C, H, W) and a text each -> their cosines, float32 (B,) on the CPU. Texts beyond the network's
        length are cut."""
        network: Any = self.network
        texts, most = list(dict.fromkeys(asked)), network.config.text_config.max_position_embeddings
        tokens = self.words(texts, padding=True, truncation=True, max_length=most, return_tensors="pt").to(self.device)
        rows = torch.tensor([texts.index(text) for text in asked])
        x = self.prepared(images).to(self.device)
        found = [
            network(pixel_values=part, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            for part in x.split(64)
        ]
        of_texts = found[0].text_embeds.float().cpu()[rows]
        of_images = torch.cat([out.image_embeds for out in found]).float().cpu()
        return nn.functional.cosine_similarity(of_images, of_texts)


def check_text_judge(name: str, asked: str = "--judge") -> None:
    """TokbenchError where the package that reads ``clip:NAME`` is not installed (it is not imported for that), or where
    a path is not a folder."""
    source = Path(name.removeprefix(TEXTS))
    if importlib.util.find_spec("transformers") is None:
        raise TokbenchError(f"{asked} {name}: needs the package transformers: pip install 'tokbench[clip]'")
    if (source.is_absolute() or name.startswith(f"{TEXTS}.")) and not source.is_dir():
        raise TokbenchError(f"{asked} {name}: {source}: no such folder")


def load_text_judge(name: str, device: str = "cpu") -> TextJudge:
    """``clip:FOLDER`` or ``clip:HUB_NAME``, a CLIP as ``transformers`` saves it with its tokenizer and preprocessor.

    Raises:
        TokbenchError: the package is not installed, or there is no such model.
    """
    check_text_judge(name)
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    source = name.removeprefix(TEXTS)
    try:
        network, words = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
        pixels = AutoImageProcessor.from_pretrained(source)
        if (kind := network.config.model_type) != "clip":
            raise TokbenchError(f"--judge {name}: is a model of type {shown(kind)}, not clip")
        side = int(network.config.vision_config.image_size)
        config = {
            "input_size": (3, side, side),
            "crop_pct": side / int(pixels.size["shortest_edge"]),
            "interpolation": "bicubic",
            "mean": list(pixels.image_mean),
            "std": list(pixels.image_std),
        }
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise TokbenchError(f"--judge {name}: cannot be read as a CLIP of transformers: {first_line(error)}") from None
    return TextJudge(name, network, config, words, device)
