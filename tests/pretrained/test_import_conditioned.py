"""taming's conditional generators: the official code's numbers, and what cannot come in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from tokbench import pretrained
from tokbench.cli.app import app
from tokbench.config.loss import LossConfig
from tokbench.data.partner import load_partner, partner_tensor
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.generators.coordinates import coordinate_codes, coordinate_map
from tokbench.generators.pipeline import Pipeline
from tokbench.losses import ReconstructionLoss
from tokbench.pretrained.taming_gpt import ORDERS


def of(folder: Path, name: str) -> tuple[Generator, dict[str, Tensor]]:
    generator = pretrained.load_generator("taming-gpt", folder / f"{name}.ckpt", folder / f"{name}.yaml")
    return generator, {key: torch.from_numpy(value) for key, value in np.load(folder / f"{name}_io.npz").items()}


def test_a_depth_map_gives_the_official_logits_and_picture(golden_conditional: Path) -> None:
    generator, data = of(golden_conditional, "net2net_depth")
    with torch.no_grad():
        codes, condition = (
            generator.tokenizer.encode(data["image"]),
            generator.condition_tokenizer.encode(data["condition"]),
        )
        assert torch.equal(codes.flatten(1), data["z_indices"]) and torch.equal(condition.flatten(1), data["c_indices"])
        torch.testing.assert_close(generator.logits(codes, condition)[0], data["logits"], rtol=1e-4, atol=1e-4)
        nll = generator.nll(codes, condition).sum() / codes.numel()
        assert float(nll) == pytest.approx(float(data["loss"]), rel=1e-5)
        drawn = generator.generate(len(codes), condition=condition, temperature=0)
        assert torch.equal(drawn.flatten(1), data["greedy"])
        torch.testing.assert_close(generator.tokenizer.decode(drawn), data["decoded_greedy"], rtol=1e-4, atol=1e-4)


def test_codes_read_as_random_ones_give_the_official_loss(
    golden_conditional: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, _ = of(golden_conditional, "net2net_depth")
    data = {key: torch.from_numpy(value) for key, value in np.load(golden_conditional / "net2net_pkeep.npz").items()}
    depth = {
        key: torch.from_numpy(value) for key, value in np.load(golden_conditional / "net2net_depth_io.npz").items()
    }
    monkeypatch.setattr(generator, "read", lambda sequence, keys: data["input_indices"][..., None])
    codes, condition = (depth[name].view(-1, 4, 4, 1) for name in ("z_indices", "c_indices"))
    with torch.no_grad():
        assert float(generator.loss(codes, condition)) == pytest.approx(float(data["loss"]), rel=1e-5)


def test_a_condition_read_in_both_directions_gives_the_official_logits(
    golden_conditional: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load((golden_conditional / "net2net_depth.yaml").read_text())
    config["model"]["params"]["transformer_config"]["params"]["n_unmasked"] = 16
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    found = pretrained.load_generator("taming-gpt", golden_conditional / "net2net_depth.ckpt", tmp_path / "c.yaml")
    given = np.load(golden_conditional / "net2net_unmasked.npz")
    data = {key: torch.from_numpy(given[key]) for key in given.files}
    codes, condition = (data[name].view(-1, 4, 4, 1) for name in ("z_indices", "c_indices"))
    with torch.no_grad():
        torch.testing.assert_close(found.logits(codes, condition)[0], data["logits"], rtol=1e-4, atol=1e-4)
    assert torch.equal(found.generate(3, condition=condition, temperature=0).flatten(1), data["greedy"])
    found.save_pretrained(tmp_path / "saved")
    assert Generator.from_pretrained(tmp_path / "saved").condition.config.whole == 16


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_gives_the_official_logits_and_codes(golden_conditional: Path, tmp_path: Path, name: str) -> None:
    config = yaml.safe_load((golden_conditional / "net2net_permuter_identity.yaml").read_text())
    config["model"]["params"]["permuter_config"]["target"] = f"taming.modules.transformer.permuter.{name}"
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    checkpoint = golden_conditional / "net2net_permuter_identity.ckpt"
    generator = pretrained.load_generator("taming-gpt", checkpoint, tmp_path / "c.yaml")
    given = np.load(golden_conditional / "net2net_permuters_io.npz")
    data = {key: torch.from_numpy(given[f"{name}_{key}"]) for key in ("logits", "loss", "greedy_raster")}
    with torch.no_grad():
        codes = generator.tokenizer.encode(torch.from_numpy(given["image"]))
        found = generator.logits(codes)[0]
        at = torch.from_numpy(np.load(golden_conditional / "permuters.npz")[f"{name}_4x4_forward"]).long()
        torch.testing.assert_close(found[:, at], data["logits"], rtol=1e-4, atol=1e-4)
        assert float(generator.nll(codes).sum() / codes.numel()) == pytest.approx(float(data["loss"]), rel=1e-5)
        assert torch.equal(generator.generate(2, temperature=0).flatten(1), data["greedy_raster"])


def test_a_table_of_another_order_in_the_file_is_named(golden_conditional: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(golden_conditional / "net2net_permuter_identity.ckpt")
    config = golden_conditional / "net2net_permuter_identity.yaml"
    for shift, said in ((0, ""), (1, "forward_shuffle_idx is not the order that Identity stands for")):
        checkpoint["state_dict"]["permuter.forward_shuffle_idx"] = (torch.arange(16) + shift) % 16
        torch.save(checkpoint, tmp_path / "g.ckpt")
        if not said:
            assert not pretrained.load_generator("taming-gpt", tmp_path / "g.ckpt", config).training
            continue
        with pytest.raises(TokbenchError, match=said):
            pretrained.load_generator("taming-gpt", tmp_path / "g.ckpt", config)


def test_its_tokenizers_stay_out_of_its_weights(golden_conditional: Path, tmp_path: Path) -> None:
    generator, _ = of(golden_conditional, "net2net_depth")
    assert not any("encoder" in name for name in generator.state_dict())
    generator.save_pretrained(tmp_path)
    again = Generator.from_pretrained(tmp_path)
    assert again.sha256() == generator.sha256() and again.config == generator.config and again.tokenizer is None


def test_coordinates_give_the_official_codes_and_logits(golden_conditional: Path) -> None:
    generator, data = of(golden_conditional, "net2net_coord")
    codes = data["z_indices"].view(-1, 4, 4, 1)
    with torch.no_grad():
        logits = generator.logits(codes, data["c_indices"].view(codes.shape))[0]
    torch.testing.assert_close(logits, data["logits"], rtol=1e-4, atol=1e-4)
    assert generator.condition_tokenizer is None
    for which, found in (("coord", "coord_codes"), ("crop", "crop_codes")):
        assert torch.equal(coordinate_codes(data[which], codes=32, downsampling=2)[..., 0], data[found][:, 0])
    torch.testing.assert_close(coordinate_map(16, 24), data["coord"])
    assert generator.condition.usual.shape == (1, 4, 4, 1)  # of a whole image, so that nobody has to say
    beyond = coordinate_codes(coordinate_map(64, 64), codes=32, downsampling=2)
    assert int(beyond.max()) == int(data["largest_index_of_square_picture_of_side_n_embed_times_f"]) == 32


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(1, 1, 5, 4), "coordinates of 5x4 pixels are no whole number of squares of 2"),
        (torch.zeros(1, 3, 4, 4), r"float \(B, 1, H, W\), got torch.float32 \(1, 3, 4, 4\)"),
        (torch.full((1, 1, 4, 4), 1.01), r"coordinates lie in \[0, 1\]"),
        (torch.full((1, 1, 4, 4), torch.nan), r"coordinates lie in \[0, 1\]"),
    ],
)
def test_what_are_no_coordinates_is_one_line(given: Tensor, said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        coordinate_codes(given, codes=8, downsampling=2)


def test_labels_give_the_official_codes_and_logits(golden_conditional: Path) -> None:
    tokenizer, report = pretrained.read("auto", golden_conditional / "vqseg.ckpt", golden_conditional / "vqseg.yaml")
    data = {key: torch.from_numpy(value) for key, value in np.load(golden_conditional / "vqseg_io.npz").items()}
    with torch.no_grad():
        codes = tokenizer.encode(data["onehot"])
        assert torch.equal(codes.flatten(1), data["indices"])
        torch.testing.assert_close(tokenizer.decode(codes), data["logits"], rtol=1e-4, atol=1e-4)
    assert tokenizer.config.channels == 6 and tokenizer.config.kind == "labels" and not report.left_over
    assert report.ignored["random colours to show labels in"] == ["colorize"]


def test_a_step_on_labels_has_the_official_loss_and_gradients(golden_conditional: Path) -> None:
    tokenizer = pretrained.load("taming", golden_conditional / "vqseg.ckpt", golden_conditional / "vqseg.yaml").train()
    data = {key: torch.from_numpy(value) for key, value in np.load(golden_conditional / "vqseg_io.npz").items()}
    out, onehot = tokenizer(data["onehot"]), data["onehot"]
    nll, terms = ReconstructionLoss(LossConfig(reconstruction="binary"))(out.reconstruction, onehot)
    assert terms["accuracy"] == (data["argmax"] == data["labels"]).float().mean()
    torch.testing.assert_close(nll, data["bce_loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(nll + out.loss, data["total_loss"], rtol=1e-5, atol=0)
    other, _ = ReconstructionLoss(LossConfig(reconstruction="cross_entropy"))(out.reconstruction, onehot)
    torch.testing.assert_close(other, data["cross_entropy_of_same_logits"], rtol=1e-5, atol=0)
    (nll + out.loss).backward()
    weights = {"conv_in": tokenizer.encoder.stem.weight, "conv_out": tokenizer.last_layer}
    for name, weight in weights.items():
        golden = next(value for key, value in data.items() if "grad" in key and name in key)
        torch.testing.assert_close(weight.grad, golden, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.update(permuter_config={"target": "permuter.ZCurv"}), "ZCurv: an order .*did you mean 'ZCurve'"),
        (lambda p: p.update(downsample_cond_size=4), "downsample_cond_size 4"),
        (lambda p: p["transformer_config"]["params"].update(n_unmasked=7), "n_unmasked 7: .* 16 places"),
        (lambda p: p["cond_stage_config"]["params"].update(n_embed=17), "n_embed is 17"),
        (lambda p: p["first_stage_config"]["params"]["ddconfig"].update(ch=16), "first_stage_model: .* ch is 16"),
    ],
)
def test_what_cannot_come_in_is_one_line(golden_conditional: Path, tmp_path: Path, change: Any, said: str) -> None:
    config = yaml.safe_load((golden_conditional / "net2net_depth.yaml").read_text())
    change(config["model"]["params"])
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(TokbenchError, match=said):
        pretrained.load_generator("taming-gpt", golden_conditional / "net2net_depth.ckpt", tmp_path / "c.yaml")


def test_a_condition_without_its_weights_is_named(golden_conditional: Path, tmp_path: Path) -> None:
    state = torch.load(golden_conditional / "net2net_depth.ckpt")["state_dict"]
    for prefix, said in (("cond_stage_model.", "conditioned on .*VQModel, of which it has no weights"),
                         ("first_stage_model.", "taming-gpt models the codes of a tokenizer")):  # fmt: skip
        torch.save({"state_dict": {k: v for k, v in state.items() if not k.startswith(prefix)}}, tmp_path / "g.ckpt")
        with pytest.raises(TokbenchError, match=said):
            pretrained.load_generator("taming-gpt", tmp_path / "g.ckpt", golden_conditional / "net2net_depth.yaml")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def brought(golden_conditional: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported") / "g"
    checkpoint, config = golden_conditional / "net2net_depth.ckpt", golden_conditional / "net2net_depth.yaml"
    assert command("import", "taming-gpt", checkpoint, "--config", config, "--out", folder).exit_code == 0
    return folder


def test_import_and_generate_from_a_depth_map_on_the_command_line(brought: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(brought, moved)  # its tokenizers come with it
    ramp = np.linspace(3.0, 90.0, 20 * 30, dtype=np.float32).reshape(20, 30)
    np.save(tmp_path / "depth.npy", ramp)
    Image.fromarray((ramp * 700).astype(np.uint16)).save(tmp_path / "depth.png")
    drawn = {}
    for name in ("depth.npy", "depth.png"):
        out = tmp_path / name.replace(".", "-")
        found = command(
            "generate", moved, "--condition", tmp_path / name, "-n", 2, "--temperature", 0, "--out", out, "--cpu"
        )
        assert found.exit_code == 0, found.output
        drawn[name] = np.asarray(Image.open(out / "000001.png"))
    assert np.array_equal(drawn["depth.npy"], drawn["depth.png"])  # scaled by its own range, whatever that is
    larger = ("generate", moved, "--condition", tmp_path / "depth.npy", "-n", 1, "--cpu")
    assert command(*larger, "--size", "12x16", "--out", tmp_path / "l").exit_code == 0
    assert Image.open(tmp_path / "l" / "000000.png").size == (16, 12)
    wrong = command(*larger, "--size", "13x16", "--out", tmp_path / "w")
    assert "--size, of the condition, 13x16 is not a multiple" in str(wrong.exception)
    pair = Pipeline.load(moved)
    codes = pair.condition_codes(
        partner_tensor(load_partner(tmp_path / "depth.npy", "depth"), "depth")[None, :, :8, :8]
    )
    assert codes.shape == (1, 4, 4, 1)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, [], "the generator needs a condition: 4x4x1 codes of depth"),
        (np.zeros((8, 8, 3), np.uint8), ["--condition", "x.npy"], "one number a pixel is wanted"),
        (np.full((8, 8), np.nan), ["--condition", "x.npy"], "depth that is not finite"),
        (np.zeros((8, 8)), ["--condition", "x.npy", "--class", 1], "--condition: "),
        (None, ["--condition", "missing.png"], "--condition missing.png: no such file"),
    ],
)
def test_what_cannot_be_drawn_from_is_one_line(
    brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, arguments: list[Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        np.save("x.npy", content)
    found = command("generate", brought, *arguments, "--out", "o", "--cpu")
    assert found.exit_code and said in str(found.exception) and not Path("o/000000.png").exists()


def test_another_condition_tokenizer_is_refused(brought: Path, tmp_path: Path) -> None:
    shutil.copytree(brought, tmp_path / "g")
    shutil.rmtree(tmp_path / "g" / "condition_tokenizer")
    with pytest.raises(TokbenchError, match="the tokenizer of the generator's condition"):
        Pipeline.load(tmp_path / "g")
    shutil.copytree(brought / "tokenizer", tmp_path / "g" / "condition_tokenizer")
    with pytest.raises(TokbenchError, match="condition_tokenizer: not the tokenizer of this generator's condition"):
        Pipeline.load(tmp_path / "g")
