"""The model FLOPs of one training step: counted while the step runs, or of a recipe without running it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from tokbench.config.architecture import Architecture
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.grid import Size, axes
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.data.pixels import frames
from tokbench.generators.building import without_weights
from tokbench.generators.causal import ATTENTION, ATTENTION_BACKWARD
from tokbench.generators.judges import without_its_weights
from tokbench.models import Tokenizer
from tokbench.models.discriminator import build_discriminator
from tokbench.models.registry import builder
from tokbench.models.unweighted import unweighted
from tokbench.models.weightless import weightless


def _linear(x: Any, weight: Any, bias: Any, *rest: Any, **named: Any) -> int:
    """oneDNN's linear map, which the code search takes where it is faster: as much work as torch's matrix product
    there, which has the bias as one more channel. Which is faster is not a property of the model."""
    return 2 * (x.numel() + x.shape[0] * (bias is not None)) * weight.shape[0]


def _attention(q: Any, *rest: Any, **named: Any) -> int:
    """Ours in training on a CPU, as torch counts its own: scores that a causal mask hides are counted."""
    return sdpa_flop_count(*[(1, *q.shape)] * 3)


def _attention_backward(gradient: Any, *rest: Any, **named: Any) -> int:
    return sdpa_backward_flop_count(*[(1, *gradient.shape)] * 4)


_FORMULAS = {
    **flop_registry,
    ATTENTION: _attention,
    ATTENTION_BACKWARD: _attention_backward,
}
if torch.backends.mkldnn.is_available():
    _FORMULAS[torch.ops.mkldnn._linear_pointwise] = _linear


class StepFlops(TorchDispatchMode):
    """Adds up the matrix products, convolutions and attention of what runs inside, by torch's own formulas.

    Not FlopCounterMode itself: it takes composite operators apart and hangs hooks on every module, and a step that is
    counted must be the same step. What activation checkpointing computes a second time is not work of the model
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) and is left out where ``recomputes`` is set.
    """

    def __init__(self, recomputes: bool = False) -> None:
        super().__init__()
        self.recomputes, self.total = recomputes, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = _FORMULAS.get(getattr(func, "_overloadpacket", None))
        if formula is not None and not (self.recomputes and _recomputing()):
            self.total += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def _recomputing() -> bool:
    # Within a backward pass gradients are recorded only while a forward pass is being repeated.
    return torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled()


def train_step_flops(recipe: Recipe, tokenizer: TokenizerRecipe | None = None) -> float:
    """FLOPs (two a multiply-add) of a train step, for one image of its batch, counted without training.

    tokenizer: that of a generator's recipe, on whose codes it is trained.
    """
    if isinstance(recipe, GeneratorRecipe):
        assert tokenizer is not None
        return _generator(recipe, tokenizer)
    assert isinstance(recipe, TokenizerRecipe)
    return _tokenizer(recipe)


def _tokenizer(recipe: TokenizerRecipe) -> float:
    size, channels = recipe.data.image_size, recipe.data.channels
    tokenizer, model, net = unweighted(recipe.tokenizer), recipe.model, recipe.loss.perceptual.net
    total = _autoencoder(type(model), model.model_dump_json(), tokenizer.quantizer.dim, size, channels)
    total += _search(tokenizer)
    if net != "none":
        total += _perceptual(net, size)
    with weightless():
        if recipe.loss.logits is not None:
            classifier, side = without_its_weights(recipe.loss.logits.net), recipe.loss.logits.size
            images = torch.zeros(1, channels, *axes(size))
            seen = torch.zeros(len(frames(images)), 3, side, side, requires_grad=True)
            total += _forward(classifier, seen) + _there_and_back(classifier, seen)
        adversarial = recipe.loss.adversarial
        if adversarial is not None:
            discriminator = build_discriminator(adversarial.discriminator, size, channels)
            several = torch.zeros(4, channels, *axes(size), requires_grad=True)  # some count over groups of the batch
            # The autoencoder's step goes through it there and back; its own step does so twice, for real and fake.
            step = _there_and_back(discriminator, several) / 4
            active = max(0, recipe.training.steps - adversarial.start) / recipe.training.steps
            total += 3 * step * active
    return total


# The cells of a sweep are counted one after the other, and most have the same networks.
@functools.lru_cache(maxsize=64)
def _autoencoder(kind: type[Architecture], model: str, dim: int, size: Size, channels: int) -> float:
    """Of settings of the class ``kind``, between which are latents of ``dim`` channels."""
    settings = kind.model_validate_json(model)
    with weightless():
        encoder, decoder = builder(settings.architecture)(settings, size, dim, channels)
        images = torch.zeros(1, channels, *axes(size), requires_grad=True)
        latents = torch.zeros(1, dim, *settings.grid(size), requires_grad=True)
        return _there_and_back(encoder, images) + _there_and_back(decoder, latents)


@functools.lru_cache(maxsize=64)
def _perceptual(net: str, size: Size) -> float:
    """The original goes through once, the reconstruction there and back; grey ones as RGB."""
    with weightless():
        features = perceptual_features(net)
        for parameter in features.parameters():
            parameter.requires_grad_(False)
        seen = frames(torch.zeros(1, 3, *axes(size), requires_grad=True))
        return _forward(features, seen) + _there_and_back(features, seen)


def _generator(recipe: GeneratorRecipe, tokenizer_recipe: TokenizerRecipe) -> float:
    config, size = tokenizer_recipe.tokenizer, recipe.data.image_size
    _, generator = without_weights(recipe.generator, config, source=recipe.tokenizer, image_size=size)
    with weightless():
        codes = torch.zeros(1, *generator.shape, dtype=torch.int64)
        try:
            return _counted(lambda: generator.loss(codes).backward())
        except (RuntimeError, NotImplementedError):
            # What looks at values cannot be counted without them: six a weight and code, as usual for transformers.
            return 6.0 * sum(p.numel() for p in generator.parameters()) * generator.places


def _search(tokenizer: Tokenizer) -> float:
    """Comparing each position with every code, where there is a codebook to compare with."""
    quantizer = tokenizer.quantizer
    tables = {tuple(t.shape) for t in [*quantizer.parameters(), *quantizer.buffers()] if t.ndim == 2}
    own, positions = quantizer.position_sizes(tokenizer.grid()), math.prod(tokenizer.grid())
    return sum(
        2.0 * (sum(own) or positions * size) * max(shape[1] for shape in tables if shape[0] == size)
        for size in quantizer.codebook_sizes
        if any(shape[0] == size for shape in tables)
    )


def perceptual_features(net: str) -> nn.Module:
    from torchvision.models import alexnet, vgg16

    # LPIPS reads no further than before the last pooling, which small images do not reach.
    features: nn.Module = (vgg16 if net == "vgg" else alexnet)(weights=None).features[:-1]
    return features


def _forward(module: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return _counted(lambda: module(x))


def _there_and_back(module: nn.Module, x: Tensor) -> float:
    return _counted(lambda: module(x).sum().backward())


def _counted(work: Callable[[], object]) -> float:
    with StepFlops() as counter:
        work()
    return float(counter.total)
