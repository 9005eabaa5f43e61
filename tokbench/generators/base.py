"""What every generator is: a model of code stacks (n, *grid, D) that knows their vocabularies and no quantizer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators.noise import place_keys, uniform
from tokbench.generators.sampling import Sampling
from tokbench.generators.transformer import Transformer

Progress = Callable[[float], None]  # called with the fraction that is done, 0..1
BatchSampler = Callable[..., Tensor]
_LABEL = -1  # the place, beside those of the codes, whose noise drops a label


class Generator(nn.Module):
    """Base class of ``AR`` and ``MLM``.

    Codes are int64 (n, *grid, D) on a grid of any number of axes, those of depth d below ``vocabulary[d]``; labels
    int64 (n,), below ``num_classes``, None or -1 where there is none.
    """

    exact_nll: ClassVar[bool]  # whether ``nll`` is the model's code length, or an upper bound of it

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.vocabulary, self.num_classes = config.shape, config.vocabulary, config.num_classes
        self.grid, self.depth = config.grid, config.shape[-1]
        self.places = math.prod(self.grid)  # T
        # One row more than there are classes: the label of an image without one. Unconditional: only that row.
        self.has_null = self.num_classes == 0 or config.generator.class_dropout > 0
        self.condition = nn.Embedding(self.num_classes + self.has_null, config.generator.width)

    # What a subclass defines -----------------------------------------------------------------------------------

    def loss(
        self,
        codes: Tensor,
        labels: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """The training loss, a scalar, nats a code.

        Args:
            targets: soft targets (B, T, K_d) of each depth.
            keys: what masks and dropped labels are drawn from (``tokbench.generators.noise``), int64 (E,), where these
                B rows are part of a batch of E: theirs first. The mean of the parts' losses is then the loss of the
                whole. By default new ones, the rows being the whole batch.
        """
        raise NotImplementedError

    def nll(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B,) nats an image: the code length, or an upper bound of it (``exact_nll``)."""
        raise NotImplementedError

    def generate(
        self,
        n: int,
        *,
        labels: Tensor | Sequence[int] | int | None = None,
        seed: int = 0,
        first: int = 0,
        sampling: Sampling | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Tensor:
        """Draw codes (n, *grid, D): the images ``first`` .. ``first + n - 1`` of ``seed``.

        Image i of a seed depends on its label and the settings and not on the batch it is drawn in (beyond the
        rounding of floating point, which can tip a near tie).

        Args:
            labels: one class id for all, or one an image; None draws without a class.
            sampling, settings: how, see :class:`Sampling`; settings by name (``top_k=100``) change single fields.
            given, mask: keep the codes (n or 1, *grid, D) where the mask (*grid) or (n, *grid) is true.
            progress: called with the fraction that is done.

        Raises:
            TokbenchError: a class that does not exist, guidance without a condition, settings out of range, given
                codes of another shape or outside the vocabulary.
        """
        sampling = (sampling or Sampling()).replace(**settings)
        if n < 1:
            raise TokbenchError(f"n is {n}: at least one image")
        chosen = self.labels(labels, n)
        if sampling.guidance != 1.0:
            self.check_guidance(chosen)
        known, kept = self._kept(given, mask, n)
        images = torch.arange(first, first + n, device=self.device)
        return self._draw(chosen, seed, images, sampling, known, kept, progress)

    def _draw(
        self,
        labels: Tensor,
        seed: int,
        images: Tensor,
        sampling: Sampling,
        known: Tensor | None,
        kept: Tensor,
        progress: Progress | None,
    ) -> Tensor:
        raise NotImplementedError

    def checkpoint_activations(self, on: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass: less memory, more time."""
        for module in self.modules():
            if isinstance(module, Transformer):
                module.checkpointing = on

    def batch_sampler(self, n: int, sampling: Sampling) -> BatchSampler:
        """``generate`` for many batches of the same size and settings: called with rows of the condition table (n,),
        the seed, the images' numbers (n,) and a progress callback; codes (n, *grid, D)."""
        kept = torch.zeros(n, self.places, dtype=torch.bool, device=self.device)

        def sample(rows: Tensor, seed: int, images: Tensor, progress: Progress | None = None) -> Tensor:
            return self._draw(rows, seed, images, sampling, None, kept, progress)

        return sample

    def cast(self, dtype: torch.dtype) -> Generator:
        """Weights in another precision, for drawing; the tokenizer's code vectors, which are summed, stay fp32."""
        vectors = self.embedding.vectors
        self.to(dtype)
        if self.config.generator.input != "learned":
            self.embedding.vectors = vectors
        return self

    # What they share -------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.condition.weight.device

    @property
    def codes_per_image(self) -> int:
        """Positions times depth."""
        return self.places * self.depth

    @property
    def null_label(self) -> int:
        """The row that stands for "no label"."""
        return self.num_classes

    def labels(self, labels: Tensor | Sequence[int] | int | None, n: int) -> Tensor:
        """Rows of the condition table, int64 (n,). Raises TokbenchError for a class that does not exist."""
        if labels is None or self.num_classes == 0:
            if labels is not None and bool((torch.as_tensor(labels) >= 0).any()):
                raise TokbenchError("a class was asked for, but the generator is unconditional")
            rows = torch.full((n,), -1, dtype=torch.int64)
        else:
            rows = torch.as_tensor(labels, dtype=torch.int64).reshape(-1)
            rows = rows.expand(n) if rows.numel() == 1 else rows
        if rows.shape != (n,):
            raise TokbenchError(f"{rows.numel()} labels for {n} images")
        return self.rows(rows.to(self.device))

    def rows(self, labels: Tensor | None, n: int | None = None) -> Tensor:
        """Labels (n,), -1 for none, as rows of the condition table; checked."""
        if labels is None:
            labels = torch.full((n or 1,), -1, dtype=torch.int64, device=self.device)
        if self.num_classes == 0:
            return torch.zeros_like(labels)
        if torch.compiler.is_compiling():  # a look at the values would break the graph
            return torch.where(labels < 0, self.null_label, labels)
        if int(labels.max()) >= self.num_classes or int(labels.min()) < -1:
            wrong = int(labels.max()) if int(labels.max()) >= self.num_classes else int(labels.min())
            raise TokbenchError(f"class {wrong} does not exist: the generator knows 0 to {self.num_classes - 1}")
        if not self.has_null and int(labels.min()) < 0:
            raise TokbenchError(
                f"the generator needs a class, 0 to {self.num_classes - 1}: it was trained with class_dropout 0"
            )
        return torch.where(labels < 0, self.null_label, labels)

    def check_guidance(self, rows: Tensor) -> None:
        """TokbenchError where rows of the condition table cannot be guided."""
        if self.num_classes == 0:
            raise TokbenchError("guidance needs a class-conditional generator; this one is unconditional")
        if not self.has_null:
            raise TokbenchError("guidance needs a generator trained with class_dropout above 0; this one was not")
        if bool((rows == self.null_label).any()):
            raise TokbenchError("guidance needs a class for every image: give labels")

    def dropped(self, rows: Tensor, keys: Tensor) -> Tensor:
        """Training rows (B,), some of them turned into "no label", as their keys (B,) say."""
        chance = self.config.generator.class_dropout
        if not self.training or not self.num_classes or not chance:
            return rows
        return torch.where(uniform(place_keys(keys, _LABEL)) < chance, self.null_label, rows)

    def sequence(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid, D) as (B, T, D), checked for shape and type."""
        if tuple(codes.shape[1:]) != self.shape or codes.dtype != torch.int64:
            raise TokbenchError(
                f"codes must be int64 (B, {', '.join(map(str, self.shape))}), got {codes.dtype} {tuple(codes.shape)}"
            )
        return codes.flatten(1, -2)

    def check_codes(self, codes: Tensor) -> None:
        """TokbenchError where a code is outside its vocabulary. A look at every value: not for the training loop."""
        self.sequence(codes)
        for depth, size in enumerate(self.vocabulary):
            low, high = int(codes[..., depth].min()), int(codes[..., depth].max())
            if low < 0 or high >= size:
                raise TokbenchError(
                    f"code {low if low < 0 else high} at depth {depth + 1} is outside the generator's vocabulary "
                    f"of {size}: these are not this tokenizer's codes"
                )

    def _kept(self, given: Tensor | None, mask: Tensor | None, n: int) -> tuple[Tensor | None, Tensor]:
        """Given codes (n, T, D) and where they hold (n, T)."""
        if (given is None) != (mask is None):
            raise TokbenchError("given codes and the mask that says where they hold go together")
        if given is None or mask is None:
            return None, torch.zeros(n, self.places, dtype=torch.bool, device=self.device)
        given = given.to(self.device)
        if len(given) not in (1, n):
            raise TokbenchError(f"{len(given)} given code stacks for {n} images")
        self.check_codes(given)
        if mask.dtype != torch.bool or tuple(mask.shape) not in (self.grid, (n, *self.grid)):
            sides = ", ".join(map(str, self.grid))
            raise TokbenchError(
                f"the mask must be boolean ({sides}) or (n, {sides}), got {mask.dtype} {tuple(mask.shape)}"
            )
        kept = mask.to(self.device).expand(n, *self.grid).flatten(1)
        return given.expand(n, *self.shape).flatten(1, -2), kept

    def set_code_vectors(self, tables: Sequence[Tensor]) -> None:
        """Take over the tokenizer's code vectors (K_d, channels), where ``input`` is ``codes``."""
        embedding = self.embedding
        rows = torch.cat(list(tables[:1] if self.config.shared_codes else tables))
        if rows.shape != embedding.vectors.shape:
            raise TokbenchError(f"code vectors {tuple(rows.shape)} do not fit {tuple(embedding.vectors.shape)}")
        embedding.vectors.copy_(rows)

    embedding: Any

    def sha256(self) -> str:
        """A hash of every weight and persistent buffer, by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save_pretrained(self, folder: str | PathLike[str], license: str | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

        Old files stay whole until the new ones are written; a README that somebody wrote stays. ``license`` is named
        in the card where it is given.
        """
        from tokbench.generators import storage

        storage.save(self, folder, license)

    def push_to_hub(
        self, repository: str, private: bool = False, message: str = "Upload a generator", license: str | None = None
    ) -> str:
        """Upload weights, configuration and model card to the Hugging Face hub; the answer is the commit's address.

        Raises:
            TokbenchError: the hub does not answer or does not take it.
        """
        from tokbench.generators import storage

        return storage.push(self, repository, private, message, license)

    @staticmethod
    def from_pretrained(source: str | PathLike[str], revision: str | None = None) -> Generator:
        """Read a folder or a hub repository, in evaluation mode: an ``AR`` or ``MLM``, as its configuration says.

        Raises:
            TokbenchError: nothing there, a missing file, or weights that do not fit the configuration.
        """
        from tokbench.generators import storage

        return storage.load(source, revision)
