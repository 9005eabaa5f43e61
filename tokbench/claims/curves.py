"""NLL while a generator trains, as the records keep it. Torch-free."""

from __future__ import annotations

from tokbench.results.entries import Entry, Spread

TRAIN, HELD_OUT = "train_bits_per_code", "held_out_bits_per_code"


def curves(entry: Entry | None, name: str) -> dict[int, list[tuple[int, float]]]:
    """(step, bits a code) of every seed that has the curve; ``name`` is ``TRAIN`` or ``HELD_OUT``."""
    found: dict[int, list[tuple[int, float]]] = {}
    for record in entry.records if entry is not None else ():
        curve = record.training.get("curve") or {}
        if name in curve and record.seed is not None:
            found[record.seed] = [(int(step), bits) for step, bits in zip(curve["step"], curve[name], strict=True)]
    return found


def gap(entry: Entry | None) -> dict[int, float]:
    """Held-out minus training bits a code at the end of training, of every seed.

    The training images are those of the last batch: the same ones in all runs of a seed on the same pictures.
    """
    train, held = (curves(entry, name) for name in (TRAIN, HELD_OUT))
    return {seed: held[seed][-1][1] - train[seed][-1][1] for seed in sorted(train.keys() & held.keys())}


def mean_curve(entry: Entry | None, name: str) -> list[tuple[int, Spread]]:
    """Mean and deviation over seeds at every step that all of them measured."""
    found = [dict(curve) for curve in curves(entry, name).values()]
    steps = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    spreads = [(step, Spread.over(curve[step] for curve in found)) for step in steps]
    return [(step, spread) for step, spread in spreads if spread is not None]
