"""Saved D-FINE folders in a process where hf_detr cannot be imported."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from hf_detr.models.decoding import decode_detections
from hf_detr.models.families import build_processor
from tests.tiny import tiny_model

PLAIN_TRANSFORMERS = """
import sys
sys.modules["hf_detr"] = None  # import hf_detr raises ImportError from here on
import json, torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline

folder, pictures = sys.argv[1], sys.argv[2:]
detect = pipeline("object-detection", model=folder)
single = [detect(picture, threshold=0.0) for picture in pictures]
try:
    crashed = ""
    detect(pictures, batch_size=4)
except IndexError as error:
    crashed = str(error)

images = [Image.open(picture) for picture in pictures]
processor = AutoImageProcessor.from_pretrained(folder)
model = AutoModelForObjectDetection.from_pretrained(folder).eval()
with torch.no_grad():
    outputs = model(**processor(images=images, return_tensors="pt"))
sizes_hw = [(image.height, image.width) for image in images]
batched = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes_hw)
batched = [{name: values.tolist() for name, values in image.items()} for image in batched]
print(json.dumps({"single": single, "batched": batched, "crashed": crashed}))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The tiny model, four pictures of different sizes, and what plain Transformers finds in them."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    model = tiny_model().eval()
    processor = build_processor(model.config, (64, 64))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    pictures = []
    for i in range(4):
        pixels = torch.randint(0, 256, (50 + 10 * i, 70, 3), dtype=torch.uint8)
        pictures.append(folder / f"{i}.png")
        Image.fromarray(pixels.numpy()).save(pictures[-1])
    command = [sys.executable, "-c", PLAIN_TRANSFORMERS, str(folder), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return model, processor, pictures, json.loads(done.stdout.splitlines()[-1])


def test_five_lines_of_plain_transformers_give_our_boxes_in_a_batch(plain):
    model, processor, pictures, found = plain
    images = [Image.open(picture) for picture in pictures]
    with torch.no_grad():
        outputs = model(**processor(images=images, return_tensors="pt"))
    sizes_hw = torch.tensor([[image.height, image.width] for image in images])
    detections = decode_detections(outputs.logits, outputs.pred_boxes, sizes_hw, top_k=30)
    for ours, theirs in zip(detections, found["batched"], strict=True):
        assert torch.allclose(ours[:, 0], torch.tensor(theirs["scores"]), atol=1e-6)
        assert ours[:, 1].long().tolist() == theirs["labels"]
        assert torch.allclose(ours[:, 2:], torch.tensor(theirs["boxes"]), atol=1e-3)


def test_the_pipeline_gives_the_same_boxes_one_picture_at_a_time(plain):
    for single, batched in zip(plain[3]["single"], plain[3]["batched"], strict=True):
        assert [round(d["score"], 5) for d in single] == [round(score, 5) for score in batched["scores"]]
        boxes = [[d["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for d in single]
        assert torch.allclose(torch.tensor(boxes), torch.tensor(batched["boxes"]).trunc().long(), atol=1)


def test_the_stock_pipeline_still_cannot_batch(plain):
    """docs/families.md says so; when this fails, Transformers has mended it and the page can be shortened."""
    assert "out of" in plain[3]["crashed"]
