"""What quantizers say is open: constructor arguments, whose ends build and between which the default lies."""

from __future__ import annotations

from typing import Any

import pytest

import quantizers as Q
from quantizers.registry import defaults, tunable
from quantizers.tunable import Between, OneOf


@pytest.mark.parametrize("name", [name for name in Q.names() if tunable(name)])
def test_every_end_builds_and_the_default_lies_between(name: str) -> None:
    options = defaults(name)
    for setting in tunable(name):
        default = options[setting.name]
        usual = setting.unset if default is None else default
        ends: tuple[Any, ...] = setting.choices if isinstance(setting, OneOf) else (setting.low, setting.high)
        inside = usual in ends if isinstance(setting, OneOf) else setting.low <= usual <= setting.high
        assert inside, f"{name}.{setting.name}: {usual} is not among {ends}"
        for end in ends:
            Q.build(name, **{**Q.get(name).examples()[0], setting.name: end})
    assert len({setting.name for setting in tunable(name)}) == len(tunable(name))


def test_what_is_made_of_others_has_their_settings_too() -> None:
    assert {s.name for s in tunable("residual", quantizer="bsq", depth=2)} == {s.name for s in tunable("bsq")}
    inside = {s.name for s in tunable("ms-rq")} - {s.name for s in Q.get("ms-rq").tunable}  # vq, as nobody says another
    assert inside == {s.name for s in tunable("vq")} - {"rotation_trick"} and defaults("ms-rq")["decay"] == 0.99
    assert {s.name for s in tunable("ms-rq", quantizer="leech")} == {s.name for s in Q.get("ms-rq").tunable}
    assert tunable("leech") == () == tunable("vqp:VectorQuantize")
    with pytest.raises(ValueError, match="decay: no log scale from 0"):
        Between("decay", 0.0, 1.0)
