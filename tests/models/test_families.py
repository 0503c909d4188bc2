"""The table of families, overrides of it, and what it refuses."""

import pytest
import torch

from hf_detr.errors import CheckpointError, RecipeError
from hf_detr.models.families import (
    build_config,
    build_processor,
    check_image_size,
    load_class,
    num_anchors,
    override_config,
    recognise_variant,
)
from hf_detr.models.variants import ARCHITECTURES, FAMILIES
from tests.tiny import tiny_config

COCO_SIZED = {i: f"class {i}" for i in range(80)}

# Parameters of the authors' training models with 80 classes (frozen batch norms are buffers).
PUBLISHED_PARAMETERS = {
    ("d_fine", "n"): 3_782_693,
    ("d_fine", "s"): 10_321_877,
    ("d_fine", "m"): 19_590_064,
    ("d_fine", "l"): 31_244_152,
    ("d_fine", "x"): 62_621_560,
    ("deim", "n"): 3_782_693,
    ("deim", "l"): 31_289_848,
    ("deim", "x"): 62_715_480,
    ("rt_detr_v4", "s"): 10_519_253,
    ("rt_detr_v4", "m"): 19_787_440,
    ("rt_detr_v4", "l"): 31_487_224,
    ("rt_detr_v4", "x"): 63_011_160,
    ("rt_detr_v2", "r18"): 20_184_464,
    ("rt_detr_v2", "r34"): 31_441_668,
    ("rt_detr_v2", "r50m"): 36_593_772,
    ("rt_detr_v2", "r50"): 42_891_372,
    ("rt_detr_v2", "r101"): 76_556_268,
    ("deimv2", "atto"): 508_985,
    ("deimv2", "n"): 3_600_421,
    ("deimv2", "s"): 9_779_838,
}


@pytest.mark.parametrize(("family", "size"), PUBLISHED_PARAMETERS)
def test_every_size_has_the_published_number_of_parameters(family, size):
    config = build_config(family, size, id2label=COCO_SIZED)
    with torch.device("meta"):
        model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED_PARAMETERS[family, size]


def test_every_row_is_recognised_from_its_configuration():
    for family, sizes in FAMILIES.items():
        for size in sizes:
            assert recognise_variant(build_config(family, size, id2label={0: "a"})) == (family, size)
    assert recognise_variant(tiny_config("d_fine")) is None


def test_backbone_overrides_are_merged_and_the_levels_follow():
    config = build_config(
        "d_fine", "n", id2label={0: "a", 1: "b"}, num_queries=60, backbone_config={"out_indices": [2, 3]}
    )
    assert config.num_labels == 2 and config.num_queries == 60 and config.d_model == 128
    assert list(config.backbone_config.stem_channels) == [3, 16, 16]
    assert list(config.encoder_in_channels) == [256, 512]
    assert list(config.feat_strides) == [8, 16]


def test_stages_behind_the_last_used_one_are_left_out_so_that_every_parameter_gets_a_gradient():
    config = build_config("d_fine", "n", id2label={0: "a"}, backbone_config={"out_indices": [2, 3]})
    assert list(config.backbone_config.depths) == [1, 1, 2]
    assert config.backbone_config.out_features == ["stage2", "stage3"]


def test_an_existing_configuration_takes_other_classes_and_values():
    config = override_config(tiny_config("d_fine"), {"num_denoising": 4}, id2label={0: "x"})
    assert config.id2label == {0: "x"} and config.num_denoising == 4
    assert config.backbone_config.to_dict() == tiny_config("d_fine").backbone_config.to_dict()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"decoder_layer": 4}, "no field 'decoder_layer'. Did you mean 'decoder_layers'"),
        ({"backbone_config": {"out_index": [2]}}, "no field 'out_index'. Did you mean 'out_indices'"),
        ({"num_labels": 4}, "the classes come from the data set"),
        ({"encoder_in_channels": [1, 2]}, r"the backbone gives \[512, 1024\]"),
        ({"feat_strides": [8, 16, 32]}, "there are 2 feature levels"),
        ({"d_model": "wide"}, "does not accept these values"),
        ({"decoder_attention_heads": 7}, "does not accept these values"),
    ],
)
def test_wrong_overrides_name_the_way_out(overrides, message):
    with pytest.raises(RecipeError, match=message):
        build_config("d_fine", "n", id2label={0: "a"}, **overrides)


def test_unknown_family_and_size_list_the_known_ones():
    with pytest.raises(RecipeError, match="choose one of: d_fine"):
        build_config("yolo", "n", id2label={0: "a"})
    with pytest.raises(RecipeError, match="choose one of: n, s, m, l, x"):
        build_config("d_fine", "xxl", id2label={0: "a"})


@pytest.mark.parametrize(("id2label", "message"), [({}, "at least one class"), ({1: "a", 2: "b"}, "0 to 1 without")])
def test_class_ids_must_be_contiguous(id2label, message):
    with pytest.raises(RecipeError, match=message):
        build_config("d_fine", "n", id2label=id2label)


def test_more_queries_than_anchors_names_the_largest_number_that_works():
    config = tiny_config("d_fine", num_queries=81)
    assert num_anchors(config, (64, 64)) == 80
    with pytest.raises(CheckpointError, match="The largest num_queries that works is 80"):
        check_image_size(config, (64, 64))
    check_image_size(config, (64, 96))


def test_sides_must_be_multiples_of_32():
    with pytest.raises(CheckpointError, match=r"480 x 650.*nearest size that works is 480 x 640"):
        check_image_size(tiny_config("d_fine"), (480, 650))


def test_the_processor_resizes_to_the_asked_size_and_only_rescales():
    processor = build_processor(tiny_config("d_fine"), (64, 96))
    pixels = processor(torch.full((3, 50, 50), 255, dtype=torch.uint8), return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 64, 96)
    assert torch.equal(pixels, torch.ones_like(pixels))
