"""A causal 3D tokenizer against an image tokenizer frame by frame (MAGVIT-v2, arXiv:2310.05737, table 5a)."""

from tokbench.claims.clips import Pair

_PAIR = Pair(
    names={"video": "causal 3D", "frames": "frame by frame"},
    best="video",
    better="{metric} of clips is better with a causal 3D network, at equal bits",
    first="PSNR of first frames, which have more bits, is better with it",
)
judge, shown, panels, table = _PAIR.judge, _PAIR.shown, _PAIR.panels, _PAIR.table
