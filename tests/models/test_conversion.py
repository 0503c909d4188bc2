"""Official checkpoints of every size become models, and come back to the bit."""

import pytest
import torch
from safetensors.torch import save_file

from hf_detr import convert_checkpoint
from hf_detr.errors import CheckpointError
from hf_detr.models.conversion.convert import convert_state_dict, find_state_dict, recognise_state_dict, to_original
from hf_detr.models.conversion.names import NameMap
from hf_detr.models.families import build_config, load_class
from hf_detr.models.labels import COCO, OBJECTS365, default_labels
from hf_detr.models.variants import ARCHITECTURES, FAMILIES

EVERY_SIZE = [(family, size) for family, sizes in FAMILIES.items() for size in sizes]


def official_state_dict(family: str, size: str, device: str = "meta") -> dict[str, torch.Tensor]:
    """Random tensors under the names and shapes of the authors."""
    config = build_config(family, size, id2label={i: str(i) for i in range(80)})
    with torch.device(device):
        model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
        return to_original(model)


@pytest.fixture(scope="module")
def nano() -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in official_state_dict("d_fine", "n", device="cpu").items()}


@pytest.mark.parametrize(("family", "size"), EVERY_SIZE)
def test_family_and_size_are_found_from_the_tensors(family, size, caplog):
    state = official_state_dict(family, size)
    found = recognise_state_dict(state, family=None, size=None, num_classes=80, name="model.pth")
    if family == "deim" and size in ("n", "s", "m"):  # the same tensors as D-FINE
        assert found == ("d_fine", size) and "differ in activations only" in caplog.text
        assert recognise_state_dict(state, family=None, size=None, num_classes=80, name="deim_n.pth") == (family, size)
        found = recognise_state_dict(state, family="deim", size=None, num_classes=80, name="model.pth")
    assert found == (family, size)


@pytest.mark.parametrize(
    ("family", "size"),
    [
        ("d_fine", "n"),
        ("rt_detr_v4", "s"),
        ("rt_detr_v2", "r18"),
        ("rt_detr_v2", "hg-l"),
        ("deimv2", "atto"),
        ("deimv2", "s"),
    ],
)
def test_there_and_back_is_equal_to_the_bit(family, size):
    state = {name: torch.randn(t.shape) for name, t in official_state_dict(family, size).items()}
    model, report = convert_state_dict(state, family=family, size=size)
    assert report.missing == [] and report.unexpected == []
    back = to_original(model)
    assert back.keys() == state.keys()
    derived = ("anchors", "valid_mask", "num_batches_tracked", "periods", "decoder.up", "decoder.reg_scale")
    shared = tuple(f"dec_bbox_head.{i}." for i in range(3)) if size == "atto" else ()  # three names of one tensor
    for name, tensor in back.items():
        if not name.endswith(derived) and not any(part in name for part in shared):
            assert torch.equal(tensor, state[name]), name


def test_averaged_weights_win_and_wrappers_are_taken_off(nano):
    marked = {name: t + 1 for name, t in nano.items() if t.is_floating_point()}
    training = {"model": nano, "ema": {"module": {f"module.{name}": t for name, t in marked.items()}}, "last_epoch": 3}
    found = find_state_dict(training, "model.pth")
    assert torch.equal(found["decoder.enc_score_head.bias"], nano["decoder.enc_score_head.bias"] + 1)
    assert find_state_dict({"model": nano}, "model.pth").keys() == nano.keys()
    assert find_state_dict({f"_orig_mod.{name}": t for name, t in nano.items()}, "model.pth").keys() == nano.keys()


def test_files_of_both_kinds(nano, tmp_path):
    torch.save({"ema": {"module": nano}, "last_epoch": 1}, tmp_path / "last.pth")
    save_file({name: t.contiguous().clone() for name, t in nano.items()}, tmp_path / "model.safetensors")
    for name in ("last.pth", "model.safetensors"):
        model = convert_checkpoint(tmp_path / name, family="d_fine")
        assert torch.equal(model.model.enc_score_head.weight, nano["decoder.enc_score_head.weight"])
        assert model.config.id2label[79] == "toothbrush" and not model.training


def test_a_converted_model_computes_the_papers_loss(nano):
    model = convert_checkpoint(nano, "d_fine", "n").train()
    labels = [{"class_labels": torch.tensor([3]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]])}]
    outputs = model(torch.rand(1, 3, 640, 640), labels=labels)
    assert {"loss_vfl", "loss_fgl", "loss_vfl_pre", "loss_bbox_dn_pre"} <= outputs.loss_dict.keys()


@pytest.mark.parametrize(("size", "frozen"), [("r18", False), ("r50m", True)])
def test_stem_and_batch_norms_are_frozen_where_the_authors_do_so(size, frozen):
    state = {name: torch.zeros(t.shape) for name, t in official_state_dict("rt_detr_v2", size).items()}
    model, _ = convert_state_dict(state, "rt_detr_v2", size)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(".embedder." in name for name in trainable) is not frozen
    assert any("backbone" in name and "normalization" in name for name in trainable) is not frozen
    assert any("backbone.model.encoder" in name for name in trainable)


def test_missing_and_unknown_tensors_are_reported(nano, caplog):
    state = dict(nano)
    del state["decoder.enc_output.proj.weight"]
    state["decoder.mystery"] = torch.zeros(1)
    _, report = convert_state_dict(state, "d_fine", "n")
    assert report.missing == ["decoder.enc_output.proj.weight"] and report.unexpected == ["decoder.mystery"]
    assert "Missing, drawn afresh: 1 (decoder.enc_output.proj.weight)" in caplog.text


def test_what_fits_no_family_names_the_nearest(nano):
    state = dict(nano)
    state["decoder.mystery"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"The nearest is d_fine n; 1 tensors differ: decoder.mystery \[1\]"):
        convert_state_dict(state)
    with pytest.raises(CheckpointError, match="does not fit d_fine s"):
        convert_state_dict(nano, "d_fine", "s")


class Unknown:
    """Something a pickle would run code for."""


def test_files_that_cannot_be_read(nano, tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        convert_state_dict(tmp_path / "nothing.pth")
    torch.save({"model": nano, "solver": Unknown()}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match=r"(?s)would run code.*Unknown"):
        convert_state_dict(tmp_path / "code.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(CheckpointError, match="cannot read"):
        convert_state_dict(tmp_path / "cut.safetensors")
    torch.save({"epoch": 3, "optimizer": {}}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="it holds: epoch, optimizer"):
        convert_state_dict(tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="80 classes, but 2 labels"):
        convert_state_dict(nano, "d_fine", "n", id2label={0: "a", 1: "b"})


def test_labels_of_published_checkpoints():
    assert len(COCO) == 80 and len(OBJECTS365) == 365
    assert default_labels(366)[1] == "Person" and default_labels(3) == {0: "class 0", 1: "class 1", 2: "class 2"}


def test_name_rules_work_in_both_directions():
    names = NameMap([("a.*.in_*", ("b.*.q.*", "b.*.k.*")), ("a.**.norm.*", "b.**.n.*")])
    assert names.ours("a.3.in_weight") == ("b.3.q.weight", "b.3.k.weight")
    assert names.original("b.3.k.weight") == ("a.3.in_weight", 1, 2)
    assert (
        names.ours("a.x.y.norm.bias") == ("b.x.y.n.bias",) and names.original("b.x.y.n.bias")[0] == "a.x.y.norm.bias"
    )
    assert names.ours("c") is None and names.original("c") is None
