"""One tiny detector in every precision that ONNX has, and data on which it is right."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hf_detr.export.folder import export_detector
from hf_detr.export.graph import GraphOptions
from hf_detr.export.verify import made_up_pictures
from hf_detr.inference.detector import Detector

PICTURES = made_up_pictures(20, (96, 128))


@pytest.fixture(scope="session")
def known_data(decided_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose objects are what the detector finds: its AP is high, and falls when it finds something else."""
    folder = tmp_path_factory.mktemp("known") / "data"
    detector = Detector.from_pretrained(decided_detector, device="cpu")
    for split, pictures in (("train", PICTURES[4:]), ("valid", PICTURES[:4])):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for number, (picture, found) in enumerate(zip(pictures, detector(pictures, threshold=0), strict=True)):
            cv2.imwrite(str(folder / split / f"{number}.png"), np.ascontiguousarray(picture[..., ::-1]))
            images.append({"id": number, "file_name": f"{number}.png", "height": 96, "width": 128})
            for box, class_id in zip(found.boxes_xyxy[:5].tolist(), found.class_ids[:5].tolist(), strict=True):
                x0, y0, x1, y1 = box
                annotations.append(
                    {"id": len(annotations), "image_id": number, "category_id": class_id, "iscrowd": 0}
                    | {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
                )
        categories = [{"id": i, "name": name} for i, name in detector.id2label.items()]
        table = {"images": images, "annotations": annotations, "categories": categories}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="session")
def exports(decided_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with ``model.onnx``, by precision; float16 with all that a graph can do itself."""
    folder = tmp_path_factory.mktemp("exports")
    for precision in ("float32", "float16", "int8"):
        whole = precision == "float16"
        export_detector(
            decided_detector,
            folder / precision,
            precision=precision,
            pictures=PICTURES[:4],
            calibration=PICTURES,
            options=GraphOptions(uint8_input=whole, with_postprocess=whole),
        )
    return {file.name: file for file in folder.iterdir()}
