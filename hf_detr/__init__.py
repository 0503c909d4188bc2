"""Fine-tune, evaluate, convert and run real-time DETR detectors with Hugging Face Transformers."""

import importlib
from typing import Any

from hf_detr.registration import register_on_first_use

__version__ = "0.1.0"

# Public names and where they live. They load on first use, so that `hf-detr --help` does not wait for torch.
_MODULE_OF = {
    "BatchDetector": "hf_detr.inference.batches",
    "CocoEvaluator": "hf_detr.evaluation.coco",
    "DeimConfig": "hf_detr.models.rt_detr_v4.configuration_rt_detr_v4",
    "DeimForObjectDetection": "hf_detr.models.rt_detr_v4.modeling_rt_detr_v4",
    "DetectionCollator": "hf_detr.data.collate",
    "DetectionDataset": "hf_detr.data.dataset",
    "Detections": "hf_detr.inference.detections",
    "Detector": "hf_detr.inference.detector",
    "DetrTrainer": "hf_detr.training.trainer",
    "DetrTrainingArguments": "hf_detr.training.arguments",
    "DistillationArguments": "hf_detr.distillation.arguments",
    "ExportedModel": "hf_detr.inference.exported_model",
    "ModelEma": "hf_detr.training.ema",
    "RTDetrV4Config": "hf_detr.models.rt_detr_v4.configuration_rt_detr_v4",
    "RTDetrV4ForObjectDetection": "hf_detr.models.rt_detr_v4.modeling_rt_detr_v4",
    "attach_criterion": "hf_detr.losses.attach",
    "build_augmentation": "hf_detr.data.augment",
    "check_dataset": "hf_detr.data.checks",
    "convert_checkpoint": "hf_detr.conversion",
    "export_detector": "hf_detr.export.folder",
    "load_coco": "hf_detr.data.coco",
    "load_csv": "hf_detr.data.loaders",
    "load_detector": "hf_detr.models.loading",
    "load_for_finetuning": "hf_detr.models.loading",
    "load_from_scratch": "hf_detr.models.loading",
    "load_hf_dataset": "hf_detr.data.hub_datasets",
    "load_recipe": "hf_detr.recipes",
    "load_teacher": "hf_detr.distillation.teacher",
    "load_voc": "hf_detr.data.loaders",
    "load_yolo": "hf_detr.data.loaders",
    "multi_scale_sizes": "hf_detr.data.collate",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'hf_detr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])


register_on_first_use()
