"""The code that captures CUDA graphs, without CUDA: see ``recorded_graphs``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from elsewhere import On, without_inference_mode
from recorded_graphs import Graph, NotPermitted, _captured, recorded_graphs  # noqa: F401  (a fixture)

from tokbench.generators import Generator, Sampling, kernels
from tokbench.generators.ar_decoding import Draw, GraphedSampler

pytestmark = pytest.mark.usefixtures("recorded_graphs")
HERE = torch.ones(2)
SAMPLINGS = {
    "plain": Sampling(),
    "filtered": Sampling(top_k=5, top_p=0.9, guidance=2.0, guidance_schedule="linear"),
    "likeliest": Sampling(temperature=0, top_p=0.5),
}
MODELS: dict[str, dict[str, Any]] = {
    "filtered": {"shape": (2, 3, 2)},
    "plain": {"shape": (2, 3, 2), "input": "codes", "positions": "rotary", "order": "spiral-in"},
    "likeliest": {"shape": (2, 3, 1), "depth_layers": 0},
}


@pytest.mark.parametrize("how", SAMPLINGS)
def test_replayed_graphs_draw_what_plain_steps_draw(
    make_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Three batches with other conditions and other images, out of one recording."""
    monkeypatch.setattr(kernels, "HAVE_TRITON", False)  # they are not for a device that is not there
    without_inference_mode(monkeypatch, Draw, "position")
    model = make_generator("ar", classes=4, **MODELS[how])
    settings, labels = SAMPLINGS[how], torch.tensor([[0, 1, 2], [3, 0, 1], [2, 2, 3]])
    expected = [model.generate(3, condition=x, seed=5, first=3 * i, sampling=settings) for i, x in enumerate(labels)]
    with On("cuda"), torch.no_grad():
        there = model.to("cuda")
        sampler = there.batch_sampler(3, settings)
        assert isinstance(sampler, GraphedSampler) and len(sampler.graphs) == model.places
        for i, x in enumerate(labels):
            images = torch.arange(3 * i, 3 * i + 3, device="cuda")
            drawn = sampler(there.condition.check(x.to("cuda"), 3), 5, images)
            assert torch.equal(drawn.values, expected[i])


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense.*would wait"),
        (lambda x: x[x > 0], "index.Tensor.*would wait"),
        (lambda x: x.nonzero(), "nonzero.*would wait"),
        (lambda x: x.cpu(), "_to_copy.*on the CPU"),
        (lambda x: x + HERE.to("cuda"), "_to_copy.*a CPU tensor"),
    ],
)
def test_what_a_capture_refuses(work: Callable[[torch.Tensor], object], said: str) -> None:
    with On("cuda"):
        x = torch.ones(2).to("cuda")
        with pytest.raises(NotPermitted, match=said), _captured(Graph()):
            work(x)


def test_memory_that_was_freed_is_noticed() -> None:
    with On("cuda"):
        graph, x = Graph(), torch.ones(2).to("cuda")
        with _captured(graph):
            y = x * 2
        x.values.fill_(3.0)
        graph.replay()
        assert y.values.tolist() == [6.0, 6.0]
        del x
        with pytest.raises(NotPermitted, match="memory that was freed"):
            graph.replay()
