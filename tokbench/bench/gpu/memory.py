"""What does not fit is better known beforehand: memory and work of large models on tensors without values."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.bench.gpu.account import Work, counted
from tokbench.bench.sampling import Contender, contenders, held_bytes
from tokbench.config.generator import SIZES
from tokbench.config.grid import axes
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data.pixels import frames
from tokbench.generators.ar_decoding import Draw
from tokbench.generators.sampling import Sampling
from tokbench.models import Tokenizer
from tokbench.models.discriminator import build_discriminator
from tokbench.training.flops import perceptual_features

_META = torch.device("meta")


@functools.cache
def sampler(contender: Contender, width: int, heads: int, vocabulary: int, batch: int, *, graphs: bool = True) -> Work:
    """Drawing one batch in bf16; the peak is of weights, caches and one position's temporaries."""
    model = contender.build(width, heads, vocabulary, "meta", torch.bfloat16)
    reads_once = Sampling(temperature=0)  # the logits, as the kernel that draws does
    with torch.no_grad():
        run = Draw(model, batch, reads_once, None, torch.zeros(batch, model.places, dtype=torch.bool, device=_META))
        step = counted(lambda: run.position(model.places // 2), graphs=graphs)  # the attention of an average one
    found = step.times(model.places)
    return Work(found.flops, found.bytes, step.peak + held_bytes(model, batch), found.seconds)


def recipe_of(name: str, overrides: tuple[str, ...] = ()) -> TokenizerRecipe:
    """A tokenizer's recipe as it ships."""
    recipe = load_recipe(name, list(overrides))
    assert isinstance(recipe, TokenizerRecipe)
    return recipe


@functools.cache
def training_step(name: str, batch: int, *, half: bool, losses: bool) -> Work:
    """A step of a recipe's autoencoder, eager, and with its ``losses`` also of LPIPS and the discriminator.

    The quantizer is left out: it passes the latents on. The peak holds weights, gradients, AdamW and what is kept for
    the backward pass.

    Args:
        half: all in bf16, which is what autocast comes to but for the norms.
    """
    recipe = recipe_of(name)
    config, dtype = recipe.tokenizer, torch.bfloat16 if half else torch.float32
    with _META:
        tokenizer = Tokenizer(config)
        images = torch.zeros(batch, config.channels, *axes(config.image_size), dtype=dtype)
        judges = _judges(recipe) if losses else nn.ModuleDict()
    networks = nn.ModuleList([tokenizer.encoder, tokenizer.decoder, judges]).to(dtype)

    def step() -> None:
        made = tokenizer.decoder(tokenizer.encoder(images))
        loss = F.l1_loss(made, images)
        if "perceptual" in judges:
            with torch.no_grad():
                wanted = judges["perceptual"](_rgb(images))
            loss = loss + (judges["perceptual"](_rgb(made)) - wanted).square().mean()
        if "discriminator" in judges:
            loss = loss + judges["discriminator"](made).mean()
        loss.backward()
        if "discriminator" in judges:
            for seen in (images, made.detach()):
                judges["discriminator"](seen).mean().backward()

    found = counted(step)
    # fp32 weights and AdamW's two averages; of a half step also the weights' copies and the rest of the gradients.
    held = sum(p.numel() * ((16 if half else 12) if p.requires_grad else 4) for p in networks.parameters())
    return Work(found.flops, found.bytes, found.peak + held, found.seconds)


def _judges(recipe: TokenizerRecipe) -> nn.ModuleDict:
    judges = nn.ModuleDict()
    if recipe.loss.perceptual.net != "none":
        judges["perceptual"] = perceptual_features(recipe.loss.perceptual.net).requires_grad_(False)
    if recipe.loss.adversarial is not None:
        made = build_discriminator(recipe.loss.adversarial.discriminator, recipe.data.image_size, recipe.data.channels)
        judges["discriminator"] = made
    return judges


def _rgb(images: Tensor) -> Tensor:
    return frames(images).expand(-1, 3, *([-1] * 2))


def large() -> Iterator[tuple[str, Work]]:
    """What must fit one GPU, by name: drawing a batch at 1.4B in bf16, and the step of VQ-GAN with its losses."""
    sizes = {**SIZES["rq-1.4b"], "vocabulary": 16384}
    for contender in contenders(sizes["layers"], sizes["depth_layers"]):
        for batch in (1, 100, 200, 500):
            work = sampler(contender, sizes["width"], sizes["heads"], sizes["vocabulary"], batch)
            yield f"drawing {batch} of {contender.name} at 1.4B", work
    for half in (False, True):
        name = f"GAN step of 8 images of 256x256, {'bf16' if half else 'fp32'}"
        yield name, training_step("vqgan-f16-16384", 8, half=half, losses=True)
