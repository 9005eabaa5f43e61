"""A peer's own module with our weights in it, to be timed beside ours."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.bench.o2_magvit2 import O2MAGVIT2, PeerOutput
from tokbench.errors import TokbenchError
from tokbench.metrics.extractors import exact_convolutions
from tokbench.models import Tokenizer
from tokbench.pretrained.exporter import official_layout

_AGREE = 1e-3  # of values about one wide; beyond it the two are not the same network


class Taming(nn.Module):
    """VQ-GAN put together of taming-transformers' own encoder, quantizer and decoder, as its ``VQModel`` does it.

    ``VQModel`` itself is a Lightning module that wants a loss; the layers are what takes time.

    Args:
        tokenizer: one that `tokbench export taming` can write; its weights are copied.

    Raises:
        TokbenchError: taming-transformers is not installed, or has no such architecture.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        tensors, settings = official_layout(tokenizer, "taming")
        try:
            from taming.modules.diffusionmodules.model import Decoder, Encoder
            from taming.modules.vqvae.quantize import VectorQuantizer2
        except ImportError as error:
            raise TokbenchError(f"taming-transformers is not here ({error}): pip install 'tokbench[peers]'") from None
        params = settings["model"]["params"]
        layers, channels, width = params["ddconfig"], params["ddconfig"]["z_channels"], params["embed_dim"]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its shape
            self.encoder, self.decoder = Encoder(**layers), Decoder(**layers)
        self.quantize = VectorQuantizer2(params["n_embed"], width, beta=0.25)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)
        self.load_state_dict(tensors)

    def forward(self, images: Tensor) -> PeerOutput:
        """Images in [-1, 1] -> reconstruction and quantizer loss."""
        quantized, loss, _ = self.quantize(self.quant_conv(self.encoder(images)))
        return PeerOutput(self.decoder(self.post_quant_conv(quantized)), loss)

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B h w,), as taming gives them."""
        codes: Tensor = self.quantize(self.quant_conv(self.encoder(images)))[2][2]
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w, 1) -> images."""
        batch, height, width, _ = codes.shape
        shape = (batch, height, width, self.quantize.e_dim)
        found: Tensor = self.decoder(self.post_quant_conv(self.quantize.get_codebook_entry(codes.flatten(), shape)))
        return found


PEERS: dict[str, Callable[[Tokenizer], nn.Module]] = {"taming": Taming, "o2": O2MAGVIT2}


@torch.no_grad()
def peer_of(tokenizer: Tokenizer, name: str, images: Tensor) -> Any:
    """The peer ``name`` with the weights of ``tokenizer``, checked to be the same network on ``images``.

    Raises:
        TokbenchError: it is not installed, has no such architecture, or gives other images.
    """
    if name not in PEERS:
        raise TokbenchError(f"no peer {name!r} (known: {', '.join(PEERS)})")
    peer: Any = PEERS[name](tokenizer).to(images.device)
    codes = tokenizer.eval().encode(images)
    with exact_convolutions():
        apart = float((peer.eval().decode(codes) - tokenizer.decode(codes)).abs().max())
    if not apart < _AGREE:
        raise TokbenchError(f"{name} decodes the same codes to other images (by {apart:.2g}): not the same network")
    return peer
