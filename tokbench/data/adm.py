"""The centre crop of ADM (guided-diffusion), the usual evaluation crop of generative ImageNet models."""

from __future__ import annotations

from PIL import Image


def shrink_to(image: Image.Image, short_side: int) -> Image.Image:
    """Halve with a box filter while the short side is at least twice ``short_side``, then bicubic to it exactly.

    Both filters are antialiased (Pillow's). A smaller picture is enlarged.
    """
    while min(image.size) >= 2 * short_side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = short_side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def adm_center_crop(image: Image.Image, size: int) -> Image.Image:
    """RGB picture -> ``size`` x ``size``: :func:`shrink_to`, then the middle square.

    Source: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis" (2021), openai/guided-diffusion
    ``image_datasets.center_crop_arr``. LlamaGen evaluates its tokenizers with the same crop.
    """
    image = shrink_to(image, size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
