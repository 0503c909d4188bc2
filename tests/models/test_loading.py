"""From scratch, to other classes, and as it is; and what is said when that cannot work."""

import json
import logging

import pytest
import torch
from transformers import AutoModelForObjectDetection, DetrConfig, DFineForObjectDetection

from hf_detr.errors import CheckpointError, RecipeError
from hf_detr.models.families import build_processor
from hf_detr.models.freeze import freeze_constants
from hf_detr.models.initialization import PRIOR_BIAS
from hf_detr.models.loading import (
    freeze_like_paper,
    load_detector,
    load_for_finetuning,
    load_from_scratch,
    match_classes,
)
from tests.tiny import IMAGE_SIZE_HW, TINY_FAMILIES, tiny_model, tiny_overrides


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny detector of person, car and traffic_light, saved."""
    torch.manual_seed(0)
    model = tiny_model()
    model.config.id2label = {0: "person", 1: "car", 2: "traffic_light"}
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(folder)
    return folder


def test_from_scratch_reaches_backbone_and_queries():
    model, processor = load_from_scratch(
        "d_fine",
        "n",
        id2label={0: "a"},
        image_size_hw=(160, 160),
        num_queries=60,
        config_overrides={"decoder_layers": 2, "backbone_config": {"out_indices": [2, 3]}},
    )
    assert model.config.num_queries == 60 and len(model.class_embed) == 2
    assert processor.size.height == processor.size.width == 160
    assert model.class_embed[0].bias.item() == pytest.approx(PRIOR_BIAS)


def test_a_random_backbone_trains_its_batch_norms_and_a_pretrained_one_keeps_its_own_way(tmp_path):
    kwargs = {"image_size_hw": (64, 64), "num_queries": 20}
    model, processor = load_from_scratch("rt_detr_v2", "r50", id2label={0: "a"}, **kwargs)
    assert not model.config.freeze_backbone_batch_norms
    small = {"backbone_config": {"depths": [1, 1, 1, 1]}, "freeze_backbone_batch_norms": True}
    model, processor = load_from_scratch("rt_detr_v2", "r18", id2label={0: "a"}, config_overrides=small, **kwargs)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model, _ = load_for_finetuning(tmp_path, id2label={0: "a"})
    assert model.config.freeze_backbone_batch_norms  # of no published size: as the checkpoint says


def test_from_scratch_refuses_more_queries_than_anchors():
    with pytest.raises(CheckpointError, match="largest num_queries that works is 20"):
        load_from_scratch("d_fine", "n", id2label={0: "a"}, image_size_hw=(64, 64))


def test_a_checkpoint_is_stock_and_round_trips_to_the_bit(checkpoint):
    saved = json.loads((checkpoint / "config.json").read_text())
    assert saved["model_type"] == "d_fine" and saved["architectures"] == ["DFineForObjectDetection"]
    ours, _ = load_detector(checkpoint)
    stock = AutoModelForObjectDetection.from_pretrained(checkpoint).eval()
    assert type(stock) is DFineForObjectDetection and not ours.training
    pixels = torch.rand(1, 3, *IMAGE_SIZE_HW)
    with torch.no_grad():
        assert torch.equal(ours(pixels).logits, stock(pixels).logits)


def test_equally_named_classes_keep_their_rows_in_every_head(checkpoint, caplog):
    pretrained, _ = load_detector(checkpoint)
    with caplog.at_level(logging.INFO, logger="hf_detr"):
        model, processor = load_for_finetuning(
            checkpoint, id2label={0: "bicycle", 1: "Traffic light", 2: "vehicle", 3: "dog"}, class_map=["car:vehicle"]
        )
    assert model.config.id2label == {0: "bicycle", 1: "Traffic light", 2: "vehicle", 3: "dog"}
    pairs = [
        *zip(model.class_embed, pretrained.class_embed, strict=True),
        (model.model.enc_score_head, pretrained.model.enc_score_head),
    ]
    for new, old in pairs:
        assert torch.equal(new.weight[[1, 2]], old.weight[[2, 1]]) and torch.equal(new.bias[[1, 2]], old.bias[[2, 1]])
        assert torch.equal(new.bias[[0, 3]], torch.full((2,), PRIOR_BIAS))
    new, old = model.model.denoising_class_embed.weight, pretrained.model.denoising_class_embed.weight
    assert torch.equal(new[[1, 2]], old[[2, 1]]) and not new[4].any()
    assert torch.equal(model.model.enc_output[0].weight, pretrained.model.enc_output[0].weight)
    assert processor.size.height == IMAGE_SIZE_HW[0]
    assert "2 of 4 carried over (Traffic light, vehicle)" in caplog.text
    assert "drawn afresh: 2 (bicycle, dog)" in caplog.text
    assert "Under another name: car -> vehicle" in caplog.text


def test_the_same_classes_give_the_same_model(checkpoint):
    pretrained, _ = load_detector(checkpoint)
    model, _ = load_for_finetuning(checkpoint, id2label=pretrained.config.id2label)
    for name, tensor in pretrained.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_overrides_that_need_new_tensors_say_so(checkpoint, caplog):
    with caplog.at_level(logging.INFO, logger="hf_detr"):
        load_for_finetuning(checkpoint, id2label={0: "car"}, config_overrides={"learn_initial_query": True})
    assert "Not in the checkpoint, drawn afresh: model.weight_embedding.weight" in caplog.text
    with pytest.raises(RecipeError, match="Did you mean 'num_denoising'"):
        load_for_finetuning(checkpoint, id2label={0: "car"}, config_overrides={"num_denoisin": 0})


def test_image_size_and_queries_are_checked_against_each_other(checkpoint):
    _, processor = load_for_finetuning(checkpoint, id2label={0: "car"}, image_size_hw=(64, 96), num_queries=120)
    assert (processor.size.height, processor.size.width) == (64, 96)
    with pytest.raises(CheckpointError, match="largest num_queries that works is 120"):
        load_for_finetuning(checkpoint, id2label={0: "car"}, image_size_hw=(64, 96), num_queries=121)


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_every_family_saves_reloads_and_takes_other_classes(name, tmp_path):
    torch.manual_seed(0)
    model = tiny_model(name).eval()
    model.save_pretrained(tmp_path)
    build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(tmp_path)
    loaded, _ = load_detector(tmp_path)
    assert type(loaded) is type(model)
    pixels = torch.rand(2, 3, *IMAGE_SIZE_HW)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).logits, model(pixels).logits)
    finetuned, _ = load_for_finetuning(tmp_path, id2label={0: "other", 1: "class 1"})
    assert torch.equal(finetuned.class_embed[0].weight[1], model.class_embed[0].weight[1])
    assert finetuned.class_embed[0].bias[0].item() == pytest.approx(PRIOR_BIAS)


def test_class_map_wins_over_equal_names():
    old, new = {0: "car", 1: "van"}, {0: "car", 1: "van"}
    assert match_classes(old, new, ["van:car"]) == {0: 1, 1: 1}


def test_objects365_and_coco_classes_with_different_names_are_the_same():
    assert match_classes({0: "Moniter/TV", 1: "Wild Bird"}, {0: "bird", 1: "tv", 2: "cup"}, []) == {0: 1, 1: 0}
    assert match_classes({0: "tv", 1: "bird"}, {0: "Moniter/TV", 1: "Lamp"}, []) == {0: 0}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("car", "must be old:new"),
        ("carr:van", r"the checkpoint has no class 'carr'. Did you mean 'car'"),
        ("car:vam", r"the data set has no class 'vam'. Did you mean 'van'"),
    ],
)
def test_wrong_class_maps(entry, message):
    with pytest.raises(CheckpointError, match=message):
        match_classes({0: "car"}, {0: "van"}, [entry])


def test_no_such_folder(tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        load_detector(tmp_path / "nothing")


def test_no_network_for_a_hub_id():
    with pytest.raises(CheckpointError, match="cannot read someone/no-such-detector") as caught:
        load_for_finetuning("someone/no-such-detector", id2label={0: "a"})
    assert "Without a network, give a local folder" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 10


def test_a_folder_without_weights_names_what_is_missing(checkpoint, tmp_path):
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"it has no model.safetensors, no preprocessor_config.json"):
        load_detector(tmp_path)


def test_a_training_folder_points_to_its_checkpoint(checkpoint, tmp_path):
    inner = tmp_path / "checkpoint-7"
    inner.mkdir()
    (inner / "config.json").write_text((checkpoint / "config.json").read_text())
    with pytest.raises(CheckpointError, match="checkpoint-7"):
        load_detector(tmp_path)


def copy_of(checkpoint, folder):
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_half_written_file(checkpoint, tmp_path, name):
    folder = copy_of(checkpoint, tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_detector(folder)


def test_missing_tensors_are_refused_for_inference_and_named_for_training(checkpoint, tmp_path, caplog):
    from safetensors.torch import load_file, save_file

    folder = copy_of(checkpoint, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.enc_score_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 of the model's tensors.*enc_score_head.weight"):
        load_detector(folder)
    load_for_finetuning(folder, id2label={0: "car"})
    assert "1 tensors missing, drawn afresh: model.enc_score_head.weight" in caplog.text


def test_another_kind_of_model(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)
    DetrConfig().save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"type 'detr', which hf_detr cannot train.*d_fine"):
        load_detector(folder)


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="hf-detr convert"):
        load_detector(tmp_path / "model.pth")


def test_rt_detr_v4_from_scratch_has_no_projector_without_a_teacher():
    overrides = dict(tiny_overrides("rt_detr_v4"))
    del overrides["teacher_dim"]
    model, _ = load_from_scratch(
        "rt_detr_v4", "s", id2label={0: "a"}, image_size_hw=IMAGE_SIZE_HW, config_overrides=overrides
    )
    assert not any("projector" in name for name, _ in model.named_parameters())


def test_a_checkpoint_of_a_fine_tuning_run_trains_the_same_parameters_again(tmp_path):
    kwargs = {"id2label": {0: "a"}, "config_overrides": {"freeze_backbone_batch_norms": True, "decoder_layers": 6}}
    model, processor = load_from_scratch("d_fine", "l", **kwargs)
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    tuned, _ = load_for_finetuning(tmp_path, id2label={0: "b"})
    resumed, _ = load_detector(tmp_path)
    freeze_like_paper(resumed)
    freeze_constants(resumed)
    trained = [{name for name, p in m.named_parameters() if p.requires_grad} for m in (tuned, resumed)]
    assert trained[0] == trained[1]
    assert not any("embedder" in name for name in trained[0])
