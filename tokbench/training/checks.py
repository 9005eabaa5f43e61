"""What only the quantizer, the architecture and the data themselves can say about a recipe."""

from __future__ import annotations

from tokbench import metrics, weights
from tokbench.codes.cache import CodeCache
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.grid import shortest, typed
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.data import open_split
from tokbench.data.base import ImageDataset, evenly
from tokbench.errors import TokbenchError, printable
from tokbench.generators.judges import check_judge
from tokbench.generators.rejection import check_ranks
from tokbench.metrics.lpips import SMALLEST
from tokbench.metrics.registry import names
from tokbench.models.discriminator import build_discriminator
from tokbench.models.unweighted import unweighted
from tokbench.models.weightless import weightless


def check_recipe(recipe: Recipe, source: str = "recipe") -> int:
    """Build the model on the meta device (no memory, no time) and return its number of parameters.

    Of a generator whose tokenizer is not there yet, only the transformer's: the tokenizer decides the rest.

    Raises TokbenchError naming ``source`` when the combination is impossible: LFQ with a codebook that is not a
    power of two, an unknown quantizer argument, a discriminator too deep for the images, an unknown metric, LPIPS
    of images that are too small for it.
    """
    check_metrics(recipe)
    if isinstance(recipe, GeneratorRecipe):
        from tokbench.training.generator_task import count_parameters

        return count_parameters(recipe)
    _check_perceptual(recipe)
    data = recipe.data
    try:
        tokenizer = unweighted(recipe.tokenizer)
        if recipe.loss.adversarial is not None:
            with weightless():
                build_discriminator(recipe.loss.adversarial.discriminator, data.image_size, data.channels)
    except (ValueError, TokbenchError, RuntimeError, OverflowError, TypeError, ZeroDivisionError) as error:
        raise TokbenchError(f"{source}: {printable(str(error), 300)}") from None  # some of them are torch's
    return tokenizer.parameter_count


def check_metrics(recipe: Recipe) -> None:
    """TokbenchError for a metric that does not exist, or not for what the recipe trains; or for no such judge."""
    if isinstance(recipe, GeneratorRecipe) and recipe.evaluation.judge is not None:
        check_ranks(recipe.evaluation.judge, "evaluation.judge")
    task = "generation" if isinstance(recipe, GeneratorRecipe) else "reconstruction"
    for name in recipe.evaluation.metrics or ():
        try:
            of = metrics.get(name).tasks
        except TokbenchError as error:
            raise TokbenchError(f"evaluation.metrics: {error}") from None
        if task not in of:
            raise TokbenchError(f"evaluation.metrics: {name!r} is of {of[0]}; of {task}: {', '.join(names(task))}")


def without_value(recipe: Recipe) -> list[str]:
    """Why metrics that the recipe asks for will have no value here: images too small or of another kind, no weights."""
    chosen = [metrics.get(name) for name in recipe.evaluation.metrics or ()]
    reasons = [metric.no_value(recipe.data.image_size, recipe.data.kind, recipe.data.source) for metric in chosen]
    return [f"evaluation.metrics: no value of {m.name}: {why}" for m, why in zip(chosen, reasons, strict=True) if why]


def _check_perceptual(recipe: TokenizerRecipe) -> None:
    net, size = recipe.loss.perceptual.net, recipe.data.image_size
    side = shortest(size)
    if net != "none" and side < SMALLEST[net]:
        raise TokbenchError(
            f"loss.perceptual.net {net} needs images of at least {SMALLEST[net]} pixels per side, data.image_size is "
            f"{typed(size)}: choose a larger one{', net vgg' if side >= SMALLEST['vgg'] else ''} or net none"
        )


def check_weights(recipe: Recipe) -> None:
    """TokbenchError where a loss needs weights that are not in the cache."""
    if isinstance(recipe, TokenizerRecipe) and recipe.loss.perceptual.net != "none":
        weights.require(f"lpips-{recipe.loss.perceptual.net}")
    if isinstance(recipe, TokenizerRecipe) and recipe.loss.logits is not None:
        check_judge(recipe.loss.logits.net, "loss.logits.net")


def check_data(recipe: Recipe) -> str:
    """Open both splits of the recipe's data, read an image of each, and say what is there.

    What lies on a hub or at an address is not fetched for that. Raises TokbenchError for a path that is missing, an
    unknown source, less data than a micro-batch, images none of which can be read.
    """
    data, batch = recipe.data, recipe.training.batch_size // recipe.training.gradient_accumulation
    if data.source.startswith("hub:") or "://" in data.source:
        return f"{data.source}: lies elsewhere, not opened"
    if data.source.startswith("codes:") and isinstance(recipe, GeneratorRecipe):
        splits: tuple[ImageDataset, ...] = ()
        folder = data.source.removeprefix("codes:")
        train, held_out = len(CodeCache(folder, "train", data.limit)), len(CodeCache(folder, "eval", data.eval_limit))
    else:
        splits = open_split(data, "train", recipe.seed), open_split(data, "eval")
        train, held_out = (len(images) for images in splits)
    if train < batch or not held_out:
        raise TokbenchError(
            f"data.source {data.source}: {train} training and {held_out} held-out samples; training needs at least "
            f"{batch}, a micro-batch, and one to look at"
        )
    for images in splits:
        images.readable(evenly(len(images), 1 if images.split == "train" else 16))
    return f"{data.source}: {train:,} training and {held_out:,} held-out samples"
