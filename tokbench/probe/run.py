"""Train a classifier and count what it recognises among held-out images; killed, the same call goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tokbench import threads
from tokbench.data.loader import Loader
from tokbench.errors import TokbenchError
from tokbench.probe.classifier import Classifier, ProbeSettings
from tokbench.probe.linear import LinearClassifier
from tokbench.probe.samples import Codes, Labelled, Pixels, checked
from tokbench.results.locks import alone
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.training.optimizer import adamw

CHECKPOINT_EVERY = 500  # steps


@dataclass(frozen=True)
class Recognition:
    """How many of ``n`` held-out images were recognised; ``most`` is the share of the largest class among them."""

    right: int
    n: int
    most: float
    train_loss: float  # mean over the last tenth of the steps
    parameters: int
    input_parameters: int
    seconds: float

    @property
    def top1(self) -> float:
        """In percent."""
        return 100 * self.right / self.n

    @property
    def stderr(self) -> float:
        """Of ``top1``, over the held-out images: binomial, with half an image added to each side, so that none and
        all of a few are not without error."""
        share = (self.right + 0.5) / (self.n + 1)
        return 100 * math.sqrt(share * (1 - share) / self.n)


def recognise(
    classifier: Classifier | LinearClassifier,
    samples: Codes | Pixels,
    data: Labelled,
    settings: ProbeSettings,
    *,
    seed: int,
    folder: Path,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Recognition:
    """Train ``classifier`` for ``settings.steps`` and try it on the held-out images.

    Args:
        seed: of the order of the training images; the classifier's weights are the caller's.
        folder: for checkpoints; the last one, of the finished classifier, stays until its record is written.
        progress: called with (steps done, steps in all) after every step.

    Raises:
        TokbenchError: fewer training images than a batch, an image without a class, a loss that is not finite.
    """
    order = Loader(
        data.train, batch_size=settings.batch_size, shuffle=True, seed=seed, drop_last=True,
        workers=workers if isinstance(samples, Pixels) else 0,
    )  # fmt: skip
    with alone(folder / ".run.lock", f"{folder}: another process probes there; wait for it or choose another --work"):
        seconds, loss = _train(classifier, samples, order, settings, folder / "checkpoints", progress)
        right, n, most = _count(classifier, samples, data, settings)
    return Recognition(
        right, n, most, loss, sum(p.numel() for p in classifier.parameters()), classifier.input_parameters, seconds,
    )  # fmt: skip


def _train(
    classifier: Classifier | LinearClassifier,
    samples: Codes | Pixels,
    order: Loader,
    settings: ProbeSettings,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[float, float]:
    """Seconds over all attempts, and the mean loss of the last tenth of the steps."""
    device = next(classifier.parameters()).device
    matrices = [p for p in classifier.parameters() if p.ndim == 2]
    others = [p for p in classifier.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = adamw(groups, lr=settings.learning_rate, betas=(0.9, 0.999))
    step, before, losses = 0, 0.0, torch.zeros(settings.steps)
    state, _ = load_checkpoint(folder)
    if state is not None:
        classifier.load_state_dict(state["classifier"])
        optimizer.load_state_dict(state["optimizer"])
        step, before, losses = state["step"], state["seconds"], state["losses"]
    start = time.perf_counter()
    classifier.train()
    while step < settings.steps:
        epoch, order.start_batch = divmod(step, len(order))
        order.set_epoch(epoch)
        for x, labels in samples.training(order):
            threads.adapt()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.factor(step)
            loss = classifier.loss(x.to(device), checked(labels, order.dataset).to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
            losses[step] = loss.detach()
            if not math.isfinite(losses[step]):
                raise TokbenchError(f"the loss is {float(losses[step])} at step {step}: use a smaller --learning-rate")
            step += 1
            if progress is not None:
                progress(step, settings.steps)
            if step == settings.steps or step % CHECKPOINT_EVERY == 0:
                spent = before + time.perf_counter() - start
                states = {"classifier": classifier.state_dict(), "optimizer": optimizer.state_dict()}
                save_checkpoint(folder, step, {**states, "step": step, "seconds": spent, "losses": losses}, keep=1)
            if step == settings.steps:
                break
    return before + time.perf_counter() - start, float(losses[-max(1, settings.steps // 10) :].mean())


@torch.inference_mode()
def _count(
    classifier: Classifier | LinearClassifier, samples: Codes | Pixels, data: Labelled, settings: ProbeSettings
) -> tuple[int, int, float]:
    """(recognised, images, the share of the largest class)."""
    classifier.eval()
    device, right, seen = next(classifier.parameters()).device, 0, torch.zeros(data.classes, dtype=torch.int64)
    for x, labels in samples.held_out(settings.batch_size):
        checked(labels, data.held_out)
        guess: Tensor = classifier(x.to(device)).argmax(-1).cpu()
        right += int((guess == labels).sum())
        seen += torch.bincount(labels, minlength=data.classes)
    n = int(seen.sum())
    if not n:
        raise TokbenchError(f"{data.held_out.source} (eval): no image could be read")
    return right, n, float(seen.max()) / n
