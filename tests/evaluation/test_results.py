import json

import numpy as np
import pytest

from hf_detr.evaluation.results import CocoResultsWriter, coco_results

ROWS = np.array([[0.9, 1, 10, 20, 30, 60], [0.5, 0, 0, 0, 8, 8], [-1, 0, 0, 0, 0, 0]], dtype=np.float32)


def test_padding_is_left_out():
    results = coco_results(ROWS, "a", (3, 90))
    assert [(result["image_id"], result["category_id"]) for result in results] == [("a", 90), ("a", 3)]


def test_results_file_is_json_however_many_results(tmp_path):
    for number, pictures in enumerate(
        [[], [[]], [coco_results(ROWS, 1)], [coco_results(ROWS, 1), coco_results(ROWS, 2)]]
    ):
        path = tmp_path / f"{number}.json"
        with CocoResultsWriter(path) as writer:
            for results in pictures:
                writer.write(results)
        assert json.loads(path.read_text()) == [result for results in pictures for result in results]


def test_an_interrupted_results_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")

    def interrupted():
        with CocoResultsWriter(path) as writer:
            writer.write(coco_results(ROWS, 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
