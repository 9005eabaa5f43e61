"""A quantizer of your own in a training loop of your own: nothing of tokbench but its quantizers' base class.

The idea here: VQ whose codebook is the outer sum of two small ones, K = 16 x 16 from 32 vectors.

    python examples/own_quantizer.py [STEPS]
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers import VQ, Quantizer
from quantizers.functional import nearest_code, straight_through


class SumVQ(Quantizer):
    """The nearest of the ``side**2`` vectors a_i + b_j."""

    def __init__(self, dim: int, side: int, *, channel_first: bool = False) -> None:
        super().__init__(dim, code_dim=dim, codebook_sizes=[side**2], channel_first=channel_first)
        self.first, self.second = nn.Parameter(torch.randn(side, dim)), nn.Parameter(torch.randn(side, dim) / 4)

    def codebook(self) -> Tensor:
        return (self.first[:, None] + self.second[None]).flatten(0, 1)

    def _encode(self, z: Tensor) -> Tensor:  # (B, T, d) -> codes (B, T, D)
        return nearest_code(z, self.codebook())[..., None]

    def _embed(self, codes: Tensor) -> Tensor:  # (B, T, D) -> (B, T, D, d)
        return F.embedding(codes, self.codebook())

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        codes = self._encode(z)
        chosen = self._decode(codes)
        loss = F.mse_loss(chosen, z.detach()) + 0.25 * F.mse_loss(z, chosen.detach())
        return straight_through(z, chosen), codes, loss, {"codebook": loss.detach()}


def train(quantizer: Quantizer, steps: int) -> float:
    """The mean squared error of held-out patches after so many steps of a two-layer autoencoder on smooth noise."""
    torch.manual_seed(0)
    encoder, decoder = nn.Conv2d(3, 8, 4, stride=4), nn.ConvTranspose2d(8, 3, 4, stride=4)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *quantizer.parameters()], lr=3e-3)
    for _ in range(steps):
        images = F.interpolate(torch.randn(16, 3, 8, 8), size=32, mode="bilinear")
        out = quantizer(encoder(images))
        loss = F.mse_loss(decoder(out.quantized), images) + out.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    quantizer.eval()
    quantizer.usage.reset()
    with torch.no_grad():
        images = F.interpolate(torch.randn(64, 3, 8, 8), size=32, mode="bilinear")
        return float(F.mse_loss(decoder(quantizer(encoder(images)).quantized), images))


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for made in (SumVQ(8, 16, channel_first=True), VQ(8, 256, channel_first=True)):
        error = train(made, steps)
        print(f"{made.label}: error {error:.4f}, {made.bits_per_vector:g} bits, usage {made.usage.usage[0]:.0%}")
