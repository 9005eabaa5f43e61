"""What a generator is trained and measured on: codes out of a cache, or of images that are encoded on the way."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from tokbench.codes.cache import CodeCache, CodeLoader
from tokbench.codes.soft import NEED_LATENTS, training_codes
from tokbench.config.condition import CodesConfig, need_classes, partner_of
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.kind import SHOWN
from tokbench.data import loader, open_split
from tokbench.data.base import digest
from tokbench.data.maps import to_model
from tokbench.errors import TokbenchError, size_text
from tokbench.generators.base import Generator
from tokbench.generators.building import codes_of, coordinates_of, for_tokenizer
from tokbench.generators.condition import Condition
from tokbench.generators.pairs import Conditioned
from tokbench.models import Tokenizer
from tokbench.training.resuming import trained_on
from tokbench.training.task import BatchSource

CODES = "codes:"
MEASURED = 64  # images on which the bits per code are measured during training


class Encoded(NamedTuple):
    """A batch for the generator."""

    codes: Tensor  # (B, *grid, D)
    targets: list[Tensor] | None  # where they are not the codes: soft ones, or those that make up for flipped bits
    nearest: Tensor  # of the first ``MEASURED``: what is measured where the codes trained on are drawn


class CodeData:
    """The recipe's data as codes of ``tokenizer``; ``classes`` are its class names.

    Raises TokbenchError for other channels than the tokenizer's, and for a cache of another tokenizer or size, or
    without the latents that the recipe needs.
    """

    def __init__(self, recipe: GeneratorRecipe, tokenizer: Tokenizer, device: torch.device) -> None:
        self.recipe, self.tokenizer, self.device = recipe, tokenizer, device
        self.quantizer: Any = tokenizer.quantizer
        self.cache: CodeCache | None = None
        if (channels := tokenizer.config.channels) != recipe.data.channels:
            raise TokbenchError(
                f"data.channels is {recipe.data.channels}, and {recipe.tokenizer} is a tokenizer of images with "
                f"{channels}: set data.channels={channels}"
            )
        if (kind := tokenizer.config.kind) != recipe.data.kind:
            raise TokbenchError(
                f"data.kind is {recipe.data.kind}, and {recipe.tokenizer} is a tokenizer of {SHOWN[kind]}: "
                f"set data.kind={kind}"
            )
        if recipe.data.source.startswith(CODES):
            self._open_cache(recipe.data.source.removeprefix(CODES))
        else:
            self._open_images()
        self._open_condition()
        settings = recipe.generator
        self.soft = training_codes(tokenizer, settings)
        if self.soft.wanted and self.cache is not None and self.cache.header.latent_channels is None:
            raise TokbenchError(
                f"{self.cache.folder}: holds no latents, which {' and '.join(NEED_LATENTS)} need; "
                "encode again with --latents"
            )
        self._held_out: tuple[Tensor, Tensor] | None = None

    def _open_cache(self, folder: str) -> None:
        data = self.recipe.data
        self.cache = CodeCache(folder, "train", data.limit)
        self.held_cache = CodeCache(folder, "eval", data.eval_limit)
        sha256 = self.tokenizer.sha256()
        for cache in (self.cache, self.held_cache):
            cache.check_tokenizer(sha256, self.recipe.tokenizer)
            if cache.header.image_size != data.image_size:
                size = size_text(cache.header.image_size)
                raise TokbenchError(
                    f"{cache.folder}: codes of images of {size} pixels, data.image_size is "
                    f"{size_text(data.image_size)}: set data.image_size={size}"
                )
            known, given = (cache.header.stride, cache.header.fps), (data.stride, data.fps)
            if known[0] is not None and known != given:
                of, says = (f"data.stride={stride} data.fps={fps or 'null'}" for stride, fps in (known, given))
                raise TokbenchError(f"{cache.folder}: codes of other clips than the recipe's, {says}: set {of}")
        self.classes = list(self.cache.header.classes)

    def _open_images(self) -> None:
        data = self.recipe.data
        self.images = open_split(data, "train", self.recipe.seed)
        self.held_images = open_split(data, "eval")
        self.classes = list(self.images.classes)

    def _open_condition(self) -> None:
        """The recipe's condition on the other half of pairs, or on coordinates; None where there is none."""
        self.conditioned: Conditioned | None = None
        self.before: CodesConfig | None = None
        settings, (_, partner, _) = self.recipe.condition, partner_of(self.recipe.data.source)
        kept = [cache.header.condition for cache in (self.cache, self.held_cache)] if self.cache is not None else []
        if self.cache is not None and (settings is None) != (None in kept):
            has = "no codes of a condition: encode pairs with --condition" if settings else "codes of pairs"
            hint = "" if settings else ": set condition.tokenizer"
            raise TokbenchError(f"{self.cache.folder}: has {has}{hint}")
        if settings is None:
            return
        size, source = self.recipe.data.image_size, self.recipe.tokenizer
        asked: Any = {"image_size": size, "dropout": settings.dropout, "read": settings.read}
        if settings.coordinates:
            self.before = coordinates_of(self.tokenizer, settings.coordinates, source=source, **asked)
            return
        partner = partner if not kept or kept[0] is None else kept[0].partner
        assert partner is not None
        other = Tokenizer.from_pretrained(settings.tokenizer).to(self.device).requires_grad_(False)
        made = Conditioned(codes_of(other, partner, source=settings.tokenizer, **asked), other)
        self.conditioned, self.before = made, made.config
        for of in kept:
            assert of is not None and of.tokenizer is not None and made.config.tokenizer is not None
            if of.tokenizer.sha256 != made.config.tokenizer.sha256:
                raise TokbenchError(
                    f"{self.recipe.data.source}: its condition is codes of another tokenizer ({of.tokenizer.source}, "
                    f"weights {of.tokenizer.sha256[:12]}) than condition.tokenizer {settings.tokenizer}"
                )
        for images in () if kept else (self.images, self.held_images):
            images.label_count = made.labels  # type: ignore[attr-defined]

    def with_condition(self, batch: Any) -> Any:
        """A batch with the codes of its partners as ``condition``, where the recipe has a condition."""
        if self.conditioned is None:
            return batch
        if self.cache is not None:
            return {**batch, "condition": batch["condition"].to(self.device, non_blocking=True)}
        return {**batch, "condition": self.conditioned.codes(batch["partner"])}

    def generator(self, *, meta: bool = False) -> Generator:
        """A new one for the recipe, its code vectors filled in; the data are told what its condition needs of them.
        ``meta``: without the memory of its weights.

        Raises:
            TokbenchError: settings that do not go with the codes, or data without what the condition is of.
        """
        settings, data = self.recipe.generator, self.recipe.data
        need_classes(settings.class_conditional, len(self.classes), data.source)
        made = for_tokenizer(
            settings,
            self.tokenizer,
            source=self.recipe.tokenizer,
            image_size=data.image_size,
            num_classes=len(self.classes),
            conditioned_on=self.before,
            meta=meta,
        )
        self._ask(made.condition)
        return made

    def _ask(self, condition: Condition) -> None:
        """Have both splits give what a condition needs of them. TokbenchError where they have none of that."""
        for source in (self.cache, self.held_cache) if self.cache is not None else (self.images, self.held_images):
            condition.ask(source)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of images that could not be read."""
        return self.images.skipped if self.cache is None else []

    def batches(self, batch_size: int, rank: int, world_size: int) -> BatchSource:
        """Codes from the cache, or images for ``encoded``."""
        seed = self.recipe.seed
        if self.cache is not None:
            return CodeLoader(self.cache, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        return loader(
            self.images,
            batch_size=batch_size,
            shuffle=True,
            seed=seed,
            workers=self.recipe.data.workers,
            drop_last=True,
            rank=rank,
            world_size=world_size,
            pin_memory=self.device.type == "cuda",
        )

    def trained_on(self) -> dict[str, Any]:
        """What a run remembers of its data: see ``tokbench.training.resuming``."""
        tokenizer = {"tokenizer": self.tokenizer.sha256()}
        if self.conditioned is not None:
            tokenizer["condition_tokenizer"] = self.conditioned.tokenizer.sha256()
        if self.cache is None:
            return trained_on(self.images, self.recipe.data.workers) | tokenizer
        header = self.cache.header
        used = self.cache.histogram_sha256
        fingerprint = digest(header.model_dump_json(exclude={"tokenizer"}), str(len(self.cache)), used)
        source = self.recipe.data.source
        return {"source": source, "fingerprint": fingerprint, "count": len(self.cache), "readers": None} | tokenizer

    def encoded(self, batch: Any, keys: Tensor) -> Encoded:
        """A batch as it is trained on; what is drawn of codes is drawn from the first B of the keys."""
        size = len(batch["codes"] if "codes" in batch else batch["image"])
        noise = keys[:size].tolist() if self.soft.drawn else None
        if "codes" not in batch:
            with torch.no_grad():
                latents = self.tokenizer.latents(self._to_model(batch["image"]))
            codes, targets = self.soft(latents, keys=noise)
            nearest = codes[:MEASURED] if noise is None else self.quantizer.encode(latents[:MEASURED])
        else:
            codes, targets = batch["codes"].to(self.device, non_blocking=True), None
            nearest = codes[:MEASURED]
            if self.soft.wanted:
                latents = batch["latents"].to(self.device).float()
                latents = latents.movedim(-1, 1) if self.quantizer.channel_first else latents
                codes, targets = self.soft(latents, codes, noise)
        return Encoded(self.quantizer.subcodes(codes), targets, self.quantizer.subcodes(nearest))

    def _to_model(self, samples: Tensor) -> Tensor:
        config = self.tokenizer.config
        return to_model(samples.to(self.device, non_blocking=True), config.kind, config.channels)

    def held_out(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Held-out codes (n, *grid, D) and their conditions (n, ...) to measure on, encoded once."""
        if self._held_out is None:
            source: Any = self.held_cache if self.cache is not None else self.held_images
            if not len(source):
                raise TokbenchError(f"data.source {self.recipe.data.source}: no held-out images to measure on")
            chosen = [k * len(source) // min(MEASURED, len(source)) for k in range(min(MEASURED, len(source)))]
            if self.cache is not None:
                batch: Any = self.held_cache.read(chosen)
                codes = batch["codes"].to(self.device)
            else:
                batch = default_collate(self.held_images.readable(chosen))
                codes = self.tokenizer.encode(self._to_model(batch["image"]))
            sub = self.quantizer.subcodes(codes)
            self._held_out = sub, condition.of({**self.with_condition(batch), "codes": sub})
        return self._held_out
