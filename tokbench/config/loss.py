"""What a tokenizer is trained to minimise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from tokbench.config.base import Betas, Layers, Strict

Weight = Annotated[float, Field(ge=0)]
Reconstruction = Literal["pixels", "cross_entropy", "binary"]
GANLoss = Literal["hinge", "non-saturating", "least-squares"]


class PerceptualConfig(Strict):
    """LPIPS 0.1 between original and reconstruction (Zhang et al. 2018, arXiv:1801.03924)."""

    net: Literal["vgg", "alex", "none"] = Field("none", description="vgg is what VQ-GAN and its successors train with")
    weight: float = Field(1.0, gt=0)


class LogitsConfig(Strict):
    """The squared difference of an ImageNet classifier's logits of original and reconstruction, of clips frame by
    frame: the perceptual loss of MAGVIT (google-research/magvit: ResNet-50, ``perceptual_loss_on_logit``)."""

    net: str = Field(
        "efficientnet-lite0", min_length=1, description="efficientnet-lite0 (or 1, 2), timm:NAME, or timm:NAME=FILE"
    )
    weight: float = Field(0.1, gt=0)
    size: PositiveInt = Field(224, description="side in pixels that frames are resized to, whatever their own")


class PatchGANConfig(Strict):
    """The PatchGAN of pix2pix (Isola et al. 2017, arXiv:1611.07004) as CompVis/taming-transformers builds it."""

    name: Literal["patchgan"] = "patchgan"
    channels: PositiveInt = Field(64, description="of the first convolution (taming's ndf)")
    layers: Layers = Field(3, description="strided convolutions; one logit sees 34, 70, 142 pixels at 2, 3, 4")
    norm: Literal["batch", "group", "none"] = Field(
        "batch", description="batch (taming's) is over one process's images; group is the same on any number"
    )
    spectral_norm: bool = Field(False, description="on every convolution (Miyato et al. 2018, arXiv:1802.05957)")


class StyleGANConfig(Strict):
    """StyleGAN2's residual discriminator (Karras et al. 2020, arXiv:1912.04958), which ViT-VQGAN trains with."""

    name: Literal["stylegan2"] = "stylegan2"
    channels: PositiveInt = Field(512, description="at most, from 32x32 down; half as many a resolution further up")
    largest: PositiveInt = Field(16384, description="channels times side at high resolutions: 64 channels at 256x256")


class ClipDiscriminatorConfig(Strict):
    """MAGVIT-v2's 3D discriminator of whole clips, with blurred pooling (arXiv:2310.05737, figure 2)."""

    name: Literal["magvit"] = "magvit"
    channels: PositiveInt = Field(128, description="of the first convolution")
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=16)] = Field(
        (2, 4, 4, 4, 4), description="channels after each halving of frames and sides, in units of `channels`"
    )


def _patchgan_by_default(value: Any) -> Any:
    return {"name": "patchgan", **value} if isinstance(value, dict) else value


DiscriminatorConfig = Annotated[
    PatchGANConfig | StyleGANConfig | ClipDiscriminatorConfig,
    Field(discriminator="name"),
    BeforeValidator(_patchgan_by_default),
]


class AdversarialConfig(Strict):
    """The discriminator, its loss, and how its gradient reaches the autoencoder.

    All steps are optimizer steps of the autoencoder. The discriminator trains from ``start``; its gradient reaches the
    autoencoder from ``start + warmup`` on, at first weakly, in full ``ramp`` steps later.
    """

    discriminator: DiscriminatorConfig = PatchGANConfig()
    loss: GANLoss = "hinge"
    generator_loss: GANLoss | Literal["non-saturating-mean"] | None = Field(
        None, description="where it differs from loss; non-saturating-mean averages an image's logits first"
    )
    weight: float = Field(0.8, gt=0, description="of the generator's term, on top of the adaptive weight")
    weighting: Literal["adaptive", "fixed"] = Field(
        "adaptive", description="adaptive: the term's gradient at the last layer is made as long as the rest's"
    )
    adaptive_delta: float = Field(1e-4, gt=0, description="against division by zero: 1e-4 in taming, 1e-6 in the paper")
    adaptive_max: float = Field(1e4, gt=0, description="upper bound of the adaptive weight")
    start: NonNegativeInt = Field(0, description="first step that trains the discriminator")
    warmup: NonNegativeInt = Field(0, description="steps of discriminator training before its gradient is used")
    ramp: NonNegativeInt = Field(0, description="steps over which the generator's term grows from 0 to its weight")
    learning_rate: float | None = Field(None, gt=0, description="of the discriminator; null: the autoencoder's")
    betas: Betas = Field((0.5, 0.9), description="of the discriminator's Adam")
    weight_decay: Weight = Field(0.0, description="of the discriminator")
    gradient_clip: float | None = Field(None, gt=0, description="global norm of the discriminator's gradient")
    r1: Weight = Field(0.0, description="gamma of gamma/2 |dD/dx|^2 on real images (Mescheder et al. 2018)")
    r1_every: PositiveInt = Field(1, description="steps between R1 penalties, each then so many times as strong")
    lecam: Weight = Field(0.0, description="weight of the LeCam regulariser (Tseng et al. 2021, arXiv:2104.03310)")
    lecam_decay: float = Field(0.999, ge=0, lt=1, description="of the moving averages of the logits")
    augment: tuple[Literal["color", "translation", "cutout"], ...] = Field(
        (), description="differentiable augmentation of all the discriminator sees (Zhao et al. 2020, arXiv:2006.10738)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> AdversarialConfig:
        if len(set(self.augment)) != len(self.augment):
            raise ValueError(f"augment names a policy twice: {', '.join(self.augment)}")
        return self

    def active(self, step: int) -> bool:
        """Whether the discriminator trains at optimizer step ``step`` (from 0)."""
        return step >= self.start

    def generator_factor(self, step: int) -> float:
        """In [0, 1]: how much of the generator's term counts at optimizer step ``step`` (from 0)."""
        since = step - self.start - self.warmup
        return 0.0 if since < 0 else min(1.0, (since + 1) / (self.ramp + 1))


class LossConfig(Strict):
    """Reconstruction, perceptual, the quantizer's own and the adversarial loss: means, of pixels in [-1, 1]."""

    reconstruction: Reconstruction = Field(
        "pixels",
        description="pixels: l1 and l2; of labels cross_entropy (VQ-GAN's text: one class a pixel) or binary "
        "(VQ-GAN's code: a binary cross-entropy for each class, mean over classes and pixels)",
    )
    l1: Weight = Field(0.0, description="weight of the mean absolute difference")
    l2: Weight = Field(1.0, description="weight of the mean squared difference")
    perceptual: PerceptualConfig = PerceptualConfig()
    logits: LogitsConfig | None = Field(None, description="null: no classifier's logits are compared")
    quantizer_weight: Weight = Field(1.0, description="multiplies the loss the quantizer reports")
    adversarial: AdversarialConfig | None = Field(None, description="null: no discriminator")

    @model_validator(mode="after")
    def _something(self) -> LossConfig:
        if self.reconstruction != "pixels":
            return self._of_labels()
        if not self.l1 and not self.l2 and self.perceptual.net == "none":
            raise ValueError("l1, l2 and perceptual are all off: nothing would make the output look like the input")
        return self

    def _of_labels(self) -> LossConfig:
        for key in ("l1", "l2", "perceptual", "logits", "adversarial"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is of pixels, and reconstruction is {self.reconstruction}: leave it out")
        return self
