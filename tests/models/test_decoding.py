"""Pixels in and boxes out equal the stock image processor to the bit."""

import torch
from transformers import RTDetrImageProcessor
from transformers.models.d_fine.modeling_d_fine import DFineObjectDetectionOutput

from hf_detr.models.decoding import decode_detections, prepare_pixels


def test_detections_equal_the_processors_to_the_bit():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 30, 7, generator=generator)
    boxes = torch.rand(3, 30, 4, generator=generator)
    sizes_hw = torch.tensor([[480, 640], [33, 1001], [7, 7]])
    expected = RTDetrImageProcessor().post_process_object_detection(
        DFineObjectDetectionOutput(logits=logits, pred_boxes=boxes), threshold=0, target_sizes=sizes_hw
    )
    detections = decode_detections(logits, boxes, sizes_hw, top_k=30)
    assert detections.shape == (3, 30, 6) and detections.dtype == torch.float32
    for found, image in zip(detections, expected, strict=True):
        assert torch.equal(found[:, 0], image["scores"])
        assert torch.equal(found[:, 1].long(), image["labels"])
        assert torch.equal(found[:, 2:], image["boxes"])


def test_top_k_may_exceed_the_queries_and_is_limited_by_the_pairs():
    logits, boxes = torch.randn(1, 4, 3), torch.rand(1, 4, 4)
    assert decode_detections(logits, boxes, torch.tensor([[10, 10]]), top_k=9).shape == (1, 9, 6)
    assert decode_detections(logits, boxes, torch.tensor([[10, 10]]), top_k=300).shape == (1, 12, 6)


def test_pixels_equal_the_processors_to_the_bit():
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    for normalise in (False, True):
        processor = RTDetrImageProcessor(size={"height": 64, "width": 96}, do_normalize=normalise)
        expected = processor(list(images), return_tensors="pt").pixel_values
        assert torch.equal(prepare_pixels(images, processor), expected)
