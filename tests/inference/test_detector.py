import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import RTDetrImageProcessor, pipeline

from hf_detr.data.images import UnreadableImageError, read_image
from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device
from hf_detr.inference.detector import Detector

PIPELINE_WITHOUT_US = """
import json, sys
sys.modules["hf_detr"] = None  # `import hf_detr` fails from here on
from transformers import pipeline
detect = pipeline("object-detection", model=sys.argv[1], device="cpu")
print(json.dumps([detect(path, threshold=0.0) for path in sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def detector(model_folder):
    return Detector.from_pretrained(model_folder, device="cpu")


def by_the_processor(detector, path):
    """Boxes before `pipeline` rounds them, by the stock image processor and its postprocessing."""
    picture = Image.fromarray(read_image(path))
    processor = detector.processor
    with torch.no_grad():
        outputs = detector.backend.model(**processor(images=[picture], return_tensors="pt"))
    sizes = torch.tensor([[picture.height, picture.width]])
    return processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)[0]


def test_boxes_are_those_of_the_stock_processor(detector, pictures):
    for path, found in zip(pictures, detector(pictures, threshold=0.0, batch_size=3), strict=True):
        reference = by_the_processor(detector, path)
        assert len(found) == len(reference["scores"]) > 0
        np.testing.assert_allclose(found.boxes_xyxy, reference["boxes"], atol=1e-4, rtol=0)
        np.testing.assert_allclose(found.scores, reference["scores"], atol=1e-6, rtol=0)
        assert found.class_ids.tolist() == reference["labels"].tolist()
        assert (found.path, found.image_size_hw) == (path, read_image(path).shape[:2])


def assert_equal_to_pipeline(found, answer):
    """`pipeline` cuts coordinates to whole pixels."""
    assert found.labels == tuple(item["label"] for item in answer)
    np.testing.assert_allclose(found.scores, [item["score"] for item in answer], atol=1e-6, rtol=0)
    cut = np.array([[item["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for item in answer])
    low, high = np.trunc(found.boxes_xyxy - 1e-4), np.trunc(found.boxes_xyxy + 1e-4)
    assert ((low <= cut) & (cut <= high)).all()


def test_pipeline_without_our_package_gives_the_same_boxes(detector, model_folder, pictures):
    script = [sys.executable, "-c", PIPELINE_WITHOUT_US, str(model_folder), *map(str, pictures)]
    answers = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    for found, answer in zip(detector(pictures, threshold=0.0), answers, strict=True):
        assert_equal_to_pipeline(found, answer)


def test_threshold_is_that_of_pipeline(detector, model_folder, pictures):
    everything = detector(pictures[0], threshold=0.0)
    threshold = float(everything.scores[4])
    answer = pipeline("object-detection", model=str(model_folder), device="cpu")(str(pictures[0]), threshold=threshold)
    assert len(detector(pictures[0], threshold=threshold)) == len(answer) == 4


def test_paths_pictures_and_arrays_are_the_same(detector, pictures):
    from_path = detector(pictures[1])
    with Image.open(pictures[1]) as opened:  # turned by its EXIF tag
        from_picture = detector(opened)
    from_array = detector(read_image(pictures[1]))
    from_text = detector(str(pictures[1]))
    for other in (from_picture, from_array, from_text):
        np.testing.assert_array_equal(from_path.boxes_xyxy, other.boxes_xyxy)
    assert from_array.path is None


def test_batches_give_what_single_pictures_give(detector, pictures):
    for single, batched in zip(map(detector, pictures), detector(pictures, batch_size=4), strict=True):
        np.testing.assert_allclose(single.boxes_xyxy, batched.boxes_xyxy, atol=1e-4, rtol=0)


def test_stream_reads_only_a_little_ahead(detector, pictures):
    asked_for = []

    def endless():
        while True:
            asked_for.append(None)
            yield pictures[0]

    stream = detector.stream(endless(), batch_size=2)
    for _ in range(5):
        image, _ = next(stream)
        assert image.shape == (48, 64, 3)
    stream.close()
    assert len(asked_for) < 15


def test_unreadable_pictures_raise_or_are_reported(detector, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(pictures[0].read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg"):
        detector([pictures[0], broken])
    failures = []
    stream = detector.stream([pictures[0], broken, pictures[3]], on_unreadable=failures.append)
    assert [found.path for _, found in stream] == [pictures[0], pictures[3]]
    assert [str(broken) in str(failure) for failure in failures] == [True]


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)]
)
def test_arrays_of_another_kind_are_refused(detector, array):
    with pytest.raises(ValueError, match=r"uint8 of shape \(height, width, 3\)"):
        detector(array)


def test_other_input_sizes(model_folder, pictures):
    wide = Detector.from_pretrained(model_folder, device="cpu", image_size_hw=(64, 128))
    assert wide.prepare(read_image(pictures[0])).shape == (3, 64, 128)
    np.testing.assert_allclose(
        wide(pictures[0], threshold=0).boxes_xyxy, by_the_processor(wide, pictures[0])["boxes"], atol=1e-4, rtol=0
    )
    with pytest.raises(CheckpointError, match="multiples of 32"):
        Detector.from_pretrained(model_folder, device="cpu", image_size_hw=(50, 50))


def test_processors_that_do_something_else_are_refused(detector):
    for other in (
        RTDetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}),
        RTDetrImageProcessor(size={"height": 64, "width": 64}, do_pad=True),
        RTDetrImageProcessor(size={"height": 64, "width": 64}, resample=Image.Resampling.BICUBIC),
    ):
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json asks for something else"):
            Detector(detector.backend, other, detector.id2label)


def test_devices_are_checked():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(HfDetrError, match="this machine has: "):
        choose_device("tpu")
    with pytest.raises(HfDetrError, match="is not available"):
        choose_device("cuda:77")
