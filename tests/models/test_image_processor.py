"""The image processor of the small DEIMv2 sizes returns what the authors' post-processor returns."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, RTDetrImageProcessor
from transformers.models.d_fine.modeling_d_fine import DFineObjectDetectionOutput

from hf_detr.inference.detector import Detector
from hf_detr.models.decoding import decode_detections
from hf_detr.models.deimv2.image_processing_deimv2 import ExactDeimv2ImageProcessor, ExactDeimv2ImageProcessorPil
from hf_detr.models.families import build_config, build_processor
from hf_detr.models.loading import load_for_finetuning
from hf_detr.models.variants import FAMILIES
from tests.tiny import IMAGE_SIZE_HW, tiny_model

GOLDEN = Path(__file__).parents[1] / "goldens" / "deimv2-atto" / "eval.safetensors"
KINDS = {"torchvision": ExactDeimv2ImageProcessor, "pil": ExactDeimv2ImageProcessorPil}


def random_outputs(num_queries: int, num_classes: int) -> DFineObjectDetectionOutput:
    generator = torch.Generator().manual_seed(0)
    return DFineObjectDetectionOutput(
        logits=torch.randn(2, num_queries, num_classes, generator=generator),
        pred_boxes=torch.rand(2, num_queries, 4, generator=generator),
    )


@pytest.mark.parametrize("processor_class", KINDS.values())
def test_the_official_detections_of_the_official_outputs(processor_class):
    golden = load_file(GOLDEN)
    logits, boxes = golden["eval_scale1.pred_logits"], golden["eval_scale1.pred_boxes"]
    assert logits.shape == (1, 100, 80)
    outputs = DFineObjectDetectionOutput(logits=logits, pred_boxes=boxes)
    (found,) = processor_class().post_process_object_detection(outputs, threshold=0, target_sizes=[(480, 640)])
    assert len(found["scores"]) == 300
    torch.testing.assert_close(found["scores"], golden["eval_scale1.post.scores"], rtol=0, atol=1e-7)
    assert torch.equal(found["labels"], golden["eval_scale1.post.labels"])
    torch.testing.assert_close(found["boxes"], golden["eval_scale1.post.boxes"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("processor_class", KINDS.values())
@pytest.mark.parametrize(("num_queries", "num_classes", "number"), [(100, 80, 300), (20, 3, 60), (310, 2, 310)])
def test_as_many_as_there_are_up_to_300_or_one_per_query(processor_class, num_queries, num_classes, number):
    outputs, sizes_hw = random_outputs(num_queries, num_classes), torch.tensor([[48, 64], [100, 30]])
    found = processor_class().post_process_object_detection(outputs, threshold=0, target_sizes=sizes_hw)
    ours = decode_detections(outputs.logits, outputs.pred_boxes, sizes_hw, top_k=number)
    assert ours.shape == (2, number, 6)
    for image, rows in zip(found, ours, strict=True):
        assert torch.equal(image["scores"], rows[:, 0])
        assert torch.equal(image["labels"], rows[:, 1].long())
        assert torch.equal(image["boxes"], rows[:, 2:])
    kept = processor_class().post_process_object_detection(outputs, threshold=0.8, target_sizes=sizes_hw)
    assert [len(image["scores"]) for image in kept] == (ours[..., 0] > 0.8).sum(1).tolist()


def test_only_sizes_with_fewer_queries_than_detections_have_it():
    kinds = {
        (family, size): type(build_processor(build_config(family, size, id2label={0: "a"}), (640, 640)))
        for family, sizes in FAMILIES.items()
        for size in sizes
    }
    own = {name for name, kind in kinds.items() if kind is ExactDeimv2ImageProcessor}
    assert own == {("deimv2", "atto"), ("deimv2", "femto"), ("deimv2", "pico")}
    assert {kind for name, kind in kinds.items() if name not in own} == {RTDetrImageProcessor}


@pytest.mark.parametrize("backend", KINDS)
def test_saved_and_loaded_again(tmp_path, backend):
    KINDS[backend](size={"height": 64, "width": 96}, do_normalize=True).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["auto_map"] == {"AutoImageProcessor": f"image_processing_deimv2.{KINDS[backend].__name__}"}
    assert (tmp_path / "image_processing_deimv2.py").is_file()
    loaded = AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    assert type(loaded) is KINDS[backend]
    assert (loaded.size.height, loaded.size.width, loaded.do_normalize) == (64, 96, True)


def test_fine_tuning_takes_the_processor_that_fits_the_number_of_queries(tmp_path):
    torch.manual_seed(0)
    model = tiny_model("deimv2_atto", num_queries=20)
    model.save_pretrained(tmp_path / "older")
    # As folders were saved before there was such a processor, and as a user may have changed it.
    stock = RTDetrImageProcessor(size={"height": 64, "width": 64}, do_normalize=True, image_mean=[0.1, 0.2, 0.3])
    stock.save_pretrained(tmp_path / "older")
    _, processor = load_for_finetuning(tmp_path / "older", id2label={0: "a"})
    assert type(processor) is ExactDeimv2ImageProcessor
    assert (processor.do_normalize, list(processor.image_mean)) == (True, [0.1, 0.2, 0.3])

    model.save_pretrained(tmp_path / "newer")
    processor.save_pretrained(tmp_path / "newer")
    _, same = load_for_finetuning(tmp_path / "newer", id2label={0: "a"})
    assert type(same) is ExactDeimv2ImageProcessor
    _, many = load_for_finetuning(tmp_path / "newer", id2label={0: "a"}, num_queries=300, image_size_hw=(512, 512))
    assert type(many) is RTDetrImageProcessor and many.do_normalize
    many.save_pretrained(tmp_path / "stock")
    assert "auto_map" not in json.loads((tmp_path / "stock" / "preprocessor_config.json").read_text())
    assert not list((tmp_path / "stock").glob("*.py"))


def test_the_detector_finds_what_the_processor_returns(tmp_path):
    torch.manual_seed(0)
    model = tiny_model("deimv2_atto", num_queries=20).eval()
    processor = build_processor(model.config, IMAGE_SIZE_HW)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    picture = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy()
    with torch.no_grad():
        outputs = model(**processor(images=[picture], return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(outputs, threshold=0, target_sizes=[(50, 70)])
    found = Detector.from_pretrained(tmp_path, device="cpu")(picture, threshold=0)
    assert len(found) == len(expected["scores"]) == 60
    assert torch.allclose(torch.from_numpy(found.scores), expected["scores"], atol=1e-6)
    assert torch.allclose(torch.from_numpy(found.boxes_xyxy), expected["boxes"], atol=1e-3)
