"""How a trainer evaluates: the averaged weights, by COCO's rules, one batch after the other."""

from contextlib import nullcontext
from typing import Any

import torch
from transformers import EvalPrediction

from hf_detr.data.faults import explained_faults
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.tiled import TiledEvaluator, evaluator_for
from hf_detr.models.decoding import EVALUATED_DETECTIONS, decode_detections
from hf_detr.training.saving import SavingTrainer


class EvaluatingTrainer(SavingTrainer):
    """A trainer whose evaluations are those of `hf-detr evaluate`.

    Attributes:
        evaluator: of the data set evaluated last, None before the first evaluation.
    """

    evaluator: CocoEvaluator | TiledEvaluator | None = None
    _evaluated: Any = None

    def evaluation_loop(self, dataloader, *args, **kwargs):
        dataset = dataloader.dataset
        if self.evaluator is None or self._evaluated is not dataset:
            self.evaluator = evaluator_for(
                dataset, max_detections=self.args.max_detections, backend=self.args.eval_backend
            )
            self._evaluated = dataset
        self.evaluator.reset()
        with explained_faults(dataset), self.ema.applied() if self.ema is not None else nullcontext():
            return super().evaluation_loop(dataloader, *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Detections ``(B, top_k, 6)`` and image numbers ``(B,)``: fixed shapes, which gather without padding."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(pixel_values=inputs["pixel_values"])
        sizes_hw = torch.stack([label["orig_size_hw"] for label in labels])
        images = torch.stack([label["image_index"] for label in labels])
        readable = torch.stack([label["readable"] for label in labels])
        top_k = max(EVALUATED_DETECTIONS, self.evaluator.max_detections, outputs.logits.shape[1])
        detections = decode_detections(outputs.logits.float(), outputs.pred_boxes.float(), sizes_hw, top_k)
        return None, detections, torch.where(readable, images, -1 - images)

    def _add_to_evaluation(self, prediction: EvalPrediction, compute_result: bool) -> dict[str, float]:
        self.evaluator.update(prediction.label_ids, prediction.predictions)
        if not compute_result:
            return {}
        self.last_evaluation = self.evaluator.compute()
        return {
            name: float("nan") if value is None else value
            for name, value in self.last_evaluation.items()
            if value is None or isinstance(value, int | float)
        }
