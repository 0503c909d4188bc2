"""One data set with something of everything."""

from pathlib import Path

import pytest

from tests.data.export.rich import NAMES, SIZE_HW, coco_text, runs, write


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with something of everything, the same in both splits but for ids."""
    contents = {}
    for number, split in enumerate(("train", "valid")):
        images = [
            {"id": 100 * number + i, "file_name": f"{i}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
            | {"license": i, "flickr_url": f"f/{i}"}
            for i in range(4)
        ]
        outlines = [
            [[1, 2, 30, 2, 30, 40.5]],
            [[1, 2, 30, 2, 30, 40], [5, 5, 9, 5, 9, 9]],
            {"size": list(SIZE_HW), "counts": runs(7)},
            coco_text(runs(9)),
            [],
        ]
        rows = []
        for i in range(10):
            row = {"id": 1000 * number + 7 * i + 1, "image_id": 100 * number + i * 3 % 4, "category_id": 7}
            row["category_id"] = list(NAMES)[i % 3]
            row |= {"bbox": [1.5, 2, 28.5, 38.25], "area": 500.5, "iscrowd": int(i == 2)}
            row |= {"segmentation": outlines[i % 5], "score": i / 10, "truncated": i % 2, "pose": "Left"}
            row |= {"occluded": 1} if i % 2 else {}
            row |= {"keypoints": [1, 2, 2, 0, 0, 0], "num_keypoints": 1} if i == 4 else {}
            rows.append(row | {"attributes": {"colour": "red"}})
        categories = [{"id": i, "name": name, "supercategory": f"over {name}"} for i, name in NAMES.items()]
        info = {"info": {"year": 2017}, "licenses": [{"id": i} for i in range(4)]}
        contents[split] = info | {"images": images, "annotations": rows, "categories": categories}
    return write(tmp_path_factory.mktemp("rich") / "in", contents)
