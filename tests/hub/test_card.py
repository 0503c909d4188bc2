"""The model card, and what is published."""

import json
from pathlib import Path

import pytest
import yaml

from hf_detr.errors import CheckpointError
from hf_detr.hub import card as cards
from hf_detr.hub import publish

METRICS = {
    "AP": 0.6123456,
    "AP50": 0.9,
    "AP75": float("nan"),
    "APs": None,
    "AR100": 0.7,
    "threshold": 0.41,
    "max_detections": 100,
    "images": 120,
    "split": "test",
    "annotations": str(Path.cwd() / "digits" / "test.json"),
    "per_class": [
        {"class": "seven", "objects": 10, "AP": 0.5, "AP50": 0.8},
        {"class": "a|b_c", "objects": 40, "AP": 0.7, "AP50": None},
    ],
}
FACTS = cards.RunFacts(
    dataset="digits",
    splits={"train": {"images": 1200, "objects": 3600}, "test": {"images": 120, "objects": 300}},
    training={"epochs": 6, "minutes": 7.5},
    versions={"torch": "2.15.0"},
)
RECIPE = {
    "model": {"model_name_or_path": "ustc-community/dfine-small-coco", "from_scratch": False},
    "data": {"data": str(Path.cwd() / "digits"), "image_size": [160]},
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as training leaves it, but for the weights, which nobody reads here."""
    return make_trained(tmp_path / "run")


def make_trained(folder: Path) -> Path:
    folder.mkdir()
    config = {"model_type": "d_fine", "id2label": {"1": "a|b_c", "0": "seven"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 100_000)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "predictions.png").write_bytes(b"picture")
    cards.write_run_facts(folder, FACTS)
    (folder / "training_args.bin").write_bytes(b"ours")
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "model.safetensors").write_bytes(b"older weights")
    return folder


def _metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_card_metadata_is_what_the_hub_reads(trained: Path) -> None:
    metadata = _metadata(cards.model_card(trained, "me/digits-detector", license_id="mit"))
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "object-detection"
    assert metadata["license"] == "mit"
    assert metadata["base_model"] == "ustc-community/dfine-small-coco"
    (entry,) = metadata["model-index"]
    assert entry["name"] == "digits-detector"
    (result,) = entry["results"]
    assert result["task"] == {"type": "object-detection"}
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {"AP": 0.6123, "AP50": 0.9}


def test_card_tells_results_data_use_and_training(trained: Path) -> None:
    card = cards.model_card(trained, "me/digits-detector")
    assert "# digits-detector\n" in card
    assert "It finds 2 classes: *seven*, *a\\|b\\_c*." in card  # by class id, and without Markdown of their own
    assert "| AP, at IoU 0.50 to 0.95 | 0.612 |" in card
    assert "AP75" not in card and "APs" not in card  # nothing was there to be found
    assert card.index("| a\\|b\\_c | 40 | 0.700 | – |") < card.index("| seven | 10 | 0.500 | 0.800 |")
    assert "![What it finds, beside the annotations](predictions.png)" in card
    assert 'pipeline("object-detection", model="me/digits-detector")' in card
    assert 'Detector.from_pretrained("me/digits-detector")' in card
    assert "threshold=0.41" in card
    assert "| train | 1,200 | 3,600 |" in card
    assert "| minutes | 7.5 |" in card
    assert "[recipe.yaml](recipe.yaml)" in card
    assert "With torch 2.15.0." in card


def test_python_in_the_card_is_python(trained: Path) -> None:
    blocks = cards.model_card(trained, "me/x").split("```python\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        compile(block.split("```")[0], "card", "exec")


def test_card_of_a_bare_model_leaves_out_what_is_unknown(trained: Path) -> None:
    for name in ("metrics.json", "recipe.yaml", "run.json", "predictions.png"):
        (trained / name).unlink()
    card = cards.model_card(trained)
    for absent in ("## Results", "## Data", "## Training", "![", "base_model", "model-index", "$"):
        assert absent not in card
    assert f'model="{trained.as_posix()}"' in card


def test_card_lists_stored_thresholds(trained: Path) -> None:
    assert "| threshold |" not in cards.model_card(trained)
    path = trained / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "detection_thresholds": {"red": 0.314, "a|b": 0.7}}))
    card = cards.model_card(trained)
    assert "Without a threshold, `Detector` uses those stored with the model" in card
    assert "| red | 0.31 |" in card and r"| a\|b | 0.70 |" in card


def test_card_does_not_name_a_local_folder_as_base_model(trained: Path) -> None:
    for start in (str(trained), "../other", None):
        (trained / "recipe.yaml").write_text(yaml.safe_dump({"model": {"model_name_or_path": start}}))
        assert "base_model" not in _metadata(cards.model_card(trained))


def test_a_card_of_ours_is_renewed_and_an_edited_one_kept(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    card = cards.write_model_card(trained)
    assert f'model="{trained.as_posix()}"' in card.read_text()
    cards.write_model_card(trained, "me/x")
    assert 'model="me/x"' in card.read_text()
    edited = card.read_text().replace("# x", "# My detector")
    card.write_text(edited)
    with caplog.at_level("INFO", logger="hf_detr"):
        cards.write_model_card(trained, "me/y")
    assert card.read_text() == edited
    assert "delete it to have it written anew" in caplog.text


def test_checkpoints_and_training_state_stay_at_home(trained: Path) -> None:
    assert [path.name for path in publish.published_files(trained)] == [
        "config.json",
        "metrics.json",
        "model.safetensors",
        "predictions.png",
        "preprocessor_config.json",
        "recipe.yaml",
        "run.json",
    ]


def test_a_folder_without_a_complete_model_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        publish.published_files(tmp_path / "nowhere")
    (trained / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors missing\. Its newest checkpoint is .*checkpoint-10"
    ):
        publish.published_files(trained)


def test_damaged_metrics_are_named(trained: Path) -> None:
    (trained / "metrics.json").write_text('{"AP": ')
    with pytest.raises(CheckpointError, match=r"metrics\.json: is not JSON"):
        cards.model_card(trained)
