"""Where an encoder of videos halves the frames (MAGVIT-v2, arXiv:2310.05737, table 5c)."""

from tokbench.claims.clips import Pair

_PAIR = Pair(
    names={"early": "halved early", "late": "halved late"},
    best="late",
    better="{metric} of clips is better where frames are halved late",
    first="PSNR of first frames is better where frames are halved late",
)
judge, shown, panels, table = _PAIR.judge, _PAIR.shown, _PAIR.panels, _PAIR.table
