"""The centre crop of ADM (guided-diffusion), the usual evaluation crop of generative ImageNet models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image

from tokbench.config.crop import crop
from tokbench.config.grid import Size, axes


def covering(image: Image.Image, height: int, width: int) -> float:
    """The scale at which an image just covers ``height`` x ``width``: one side is equal, the other no shorter."""
    return max(width / image.width, height / image.height)


def covering_sizes(image: Image.Image, shape: Sequence[int], zooms: Iterable[float]) -> list[tuple[int, int]]:
    """Width and height at which an image just covers (H, W) times each zoom, as far as it has the pixels (1 always)."""
    sizes = []
    for zoom in zooms:
        height, width = (round(side * zoom) for side in shape)
        scale = covering(image, height, width)
        if scale > 1 and zoom > 1:
            break
        sizes.append((round(image.width * scale), round(image.height * scale)))
    return sizes


def shrink_to(image: Image.Image, height: int, width: int) -> Image.Image:
    """Halve with a box filter while the image covers ``height`` x ``width`` twice, then bicubic to cover it exactly.

    Both filters are antialiased (Pillow's). A smaller image is enlarged.
    """
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = covering(image, height, width)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def middle(image: Image.Image, height: int, width: int) -> Image.Image:
    """The middle ``height`` x ``width`` of an image."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


@crop(
    "adm",
    {
        "tokbench-v1": "tokbench's own: the ADM centre crop, metrics on 8-bit pixels",
        "adm": "openai/guided-diffusion, image_datasets.center_crop_arr",
        "llamagen": "FoundationVision/LlamaGen, dataset/augmentation.py center_crop_arr (as ADM)",
    },
)
def adm_center_crop(image: Image.Image, size: Size) -> Image.Image:
    """RGB image -> ``size``: :func:`shrink_to`, then the middle.

    Source: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis" (2021), openai/guided-diffusion
    ``image_datasets.center_crop_arr``. LlamaGen evaluates its tokenizers with the same crop.
    """
    height, width = axes(size)
    return middle(shrink_to(image, height, width), height, width)
