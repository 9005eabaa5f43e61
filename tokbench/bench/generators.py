"""Drawing and training of an ``AR`` beside the authors' transformer with the same weights: in turns, by CPU seconds.

A machine that others use too stretches seconds, and hardly CPU seconds: on a CPU the ratios are of those.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.bench.kakao import Kakao
from tokbench.bench.prefix import prefix_costs
from tokbench.bench.taming_gpt import TamingGPT, alike
from tokbench.bench.timing import device_name, load, seconds_of
from tokbench.config.condition import CodesConfig, TextConfig
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators.ar import AR
from tokbench.generators.sampling import Sampling
from tokbench.models.folder import explain
from tokbench.results.environment import provenance
from tokbench.training.optimizer import adamw

Peer = Literal["taming", "kakao"]
OURS = "tokbench"
_AGREE = 1e-3  # of logits about one wide; beyond it the two are not the same network
_CHANNELS = 256  # of Kakao's code vectors
_TEXT = 16384  # tokens of Kakao's text


@dataclass(frozen=True)
class Size:
    """Of the transformer. taming's, of codes of depth 1, has both kinds of layers in its one stack."""

    width: int = 320
    heads: int = 5
    layers: int = 12
    depth_layers: int = 2
    vocabulary: int = 2048
    text: int = 32  # tokens of the text before Kakao's codes; before taming's stands a map of as many codes as follow

    def build(self, beside: Peer, given: bool, device: str) -> AR:
        """Random weights, one code at each of 16x16 positions or four at each of 8x8; ``given`` a condition.

        Raises:
            TokbenchError: sizes that do not go together.
        """
        taming = beside == "taming"
        settings: dict[str, Any] = {"width": self.width, "heads": self.heads}
        before: CodesConfig | TextConfig
        if taming:
            shape = (16, 16, 1)
            settings |= {"layers": self.layers + self.depth_layers, "depth_layers": 0, "input": "learned"}
            before = CodesConfig(shape=shape, vocabulary=(self.vocabulary,))
        else:
            shape = (8, 8, 4)
            settings |= {"layers": self.layers, "depth_layers": self.depth_layers, "input": "codes"}
            before = TextConfig(length=self.text, vocabulary=_TEXT)
        try:
            generator = ARConfig.model_validate(settings)
        except ValidationError as error:
            raise TokbenchError(explain(error)) from None
        config = GeneratorConfig(
            generator=generator,
            shape=shape,
            vocabulary=(self.vocabulary,) * shape[-1],
            code_channels=None if taming else _CHANNELS,
            shared_codes=not taming,
            conditioned_on=before if given else None,
        )
        with torch.device(device):
            model = AR(config)
        if taming:
            return alike(model).eval()
        model.embedding.vectors.normal_()
        return model.eval()


def peer_of(model: AR, name: Peer, codes: Tensor, condition: Tensor) -> Any:
    """The peer ``name`` with the weights of ``model``, checked to give the same logits.

    Raises:
        TokbenchError: it is not installed, has no such model, or gives other logits.
    """
    peer = (TamingGPT if name == "taming" else Kakao)(model).to(codes.device).eval()
    with torch.no_grad():
        theirs = peer(codes.flatten(1, -2), condition).unbind(2)
        apart = max(float((a - b).abs().max()) for a, b in zip(model.logits(codes, condition), theirs, strict=True))
    if not apart < _AGREE:
        raise TokbenchError(f"{name} gives other logits (by {apart:.2g}): not the same network")
    return peer


class Spent(NamedTuple):
    """What one call took."""

    seconds: float
    cpu: float


Turns = Mapping[tuple[str, str], Sequence[Spent]]


def in_turns(
    functions: Mapping[tuple[str, str], Callable[[], object]], turns: int, device: str
) -> dict[tuple[str, str], list[Spent]]:
    """What each function, by part and whose, took in each turn. The first turn warms up; every other one goes the other
    way round."""
    found: dict[tuple[str, str], list[Spent]] = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name in list(functions)[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            seconds = seconds_of(functions[name], device)
            if turn:
                found[name].append(Spent(seconds, time.process_time() - start))
    return found


def bench_generators(
    beside: Peer,
    batches: Sequence[int],
    *,
    size: Size,
    train_batch: int = 8,
    turns: int = 5,
    device: str = "cpu",
    sampling: Sampling | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw with and without a condition, and train, ours and the peer's in turns.

    The training step is forward, cross-entropy, backward and the same AdamW for both.

    Returns:
        ``created``, ``git``, ``environment``, the settings; ``rows``, one a part and batch size, with the medians of
        ``seconds`` and ``cpu_seconds`` by whose and the ``speedup`` over the peer; and ``given``, one a batch size:
        the ratio of our time with a condition to that without one and reading the condition and attending to it.
    """
    if turns < 1 or train_batch < 1 or not batches or min(batches) < 1:
        raise TokbenchError(f"nothing to time: batch sizes {list(batches)} and {train_batch}, turns {turns}")
    made, sampling = provenance(), sampling or Sampling()
    torch.manual_seed(seed)
    models = {"sample": size.build(beside, False, device), "sample given": size.build(beside, True, device)}
    rows, given = [], []
    for batch in batches:
        functions: dict[tuple[str, str], Callable[[], object]] = {}
        for part, model in models.items():
            codes, condition = random_input(model, batch)
            peer = peer_of(model, beside, codes, condition)
            draw = model.batch_sampler(batch, sampling)
            functions[part, OURS] = partial(draw, condition, seed, torch.arange(batch, device=device))
            functions[part, beside] = partial(peer.sample, condition, sampling)
        # The last of the models is the one that is given something.
        functions |= {("prefix", what): function for what, function in prefix_costs(model, condition).items()}
        spent = in_turns(functions, turns, device)
        rows += [_row(part, batch, spent, beside, model, device) for part, model in models.items()]
        given.append({"batch_size": batch, **_against_expected(spent, device)})
    rows.append(_training(models["sample"], beside, train_batch, turns, device))
    return {
        **made,
        "device": device_name(device),
        "beside": beside,
        "size": asdict(size),
        "parameters": sum(p.numel() for p in models["sample"].parameters()),
        "sampling": {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p},
        "turns": turns,
        "seed": seed,
        "load": load(),
        "rows": rows,
        "given": given,
    }


def random_input(model: AR, batch: int) -> tuple[Tensor, Tensor]:
    """Codes (B, *grid, D) and checked conditions (B, ...)."""
    before, device = model.config.conditioned_on, model.device
    codes = torch.randint(model.vocabulary[0], (batch, *model.shape), device=device)
    if before is None:
        return codes, model.condition.null(batch)
    shape, size = ((before.length,), before.vocabulary) if isinstance(before, TextConfig) else (model.shape, 2)
    return codes, torch.randint(size, (batch, *shape), device=device)


def _training(model: AR, beside: Peer, batch: int, turns: int, device: str) -> dict[str, Any]:
    codes, condition = random_input(model, batch)
    peer, ours = peer_of(model, beside, codes, condition), copy.deepcopy(model)
    objectives: dict[str, Callable[[], Tensor]] = {
        OURS: partial(ours.loss, codes),
        beside: partial(peer.loss, codes.flatten(1, -2), condition),
    }
    steps = {}
    for (who, objective), module in zip(objectives.items(), (ours, peer), strict=True):
        optimizer = adamw(module.train().parameters(), lr=1e-6, betas=(0.9, 0.95))
        steps["train step", who] = partial(_step, objective, optimizer)
    return _row("train step", batch, in_turns(steps, turns, device), beside, model, device)


def _step(objective: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    objective().backward()
    optimizer.step()


def _row(part: str, batch: int, spent: Turns, beside: str, model: AR, device: str) -> dict[str, Any]:
    ours, theirs = (_times(spent[part, who], device) for who in (OURS, beside))
    speedups = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "part": part,
        "batch_size": batch,
        "codes": batch * model.places * model.depth,
        "seconds": {who: statistics.median(s.seconds for s in spent[part, who]) for who in (OURS, beside)},
        "cpu_seconds": {who: statistics.median(s.cpu for s in spent[part, who]) for who in (OURS, beside)},
        "speedup": {"median": statistics.median(speedups), "lowest": min(speedups), "highest": max(speedups)},
    }


def _against_expected(spent: Turns, device: str) -> dict[str, float]:
    """Of ours, medians: what drawing takes without a condition, reading it, attending to it beyond attending to the
    codes, drawing given it; and the last over the sum of the others."""
    parts = {
        name: statistics.median(_times(spent[key], device))
        for name, key in {
            "plain": ("sample", OURS), "given": ("sample given", OURS), "reading": ("prefix", "reading"),
            "near": ("prefix", "attention to codes"), "far": ("prefix", "attention to all"),
        }.items()
    }  # fmt: skip
    attending = parts.pop("far") - parts.pop("near")
    expected = parts["plain"] + parts["reading"] + attending
    return {**parts, "attending": attending, "ratio": parts["given"] / expected}


def _times(spent: Sequence[Spent], device: str) -> list[float]:
    """CPU seconds on a CPU, else those of the clock."""
    return [one.cpu if device == "cpu" else one.seconds for one in spent]
