"""Image processor of the DEIMv2 sizes that have fewer queries than detections.

Imports torch and transformers only: the file is saved beside checkpoints.
"""

from types import SimpleNamespace

import torch.nn.functional as F
from transformers import RTDetrImageProcessor, RTDetrImageProcessorPil


class _MoreDetectionsThanQueries:
    """Post-processing of the authors, who return 300 pairs of query and class also from 100 queries.

    Attributes:
        min_detections: pairs of query and class that are looked at, best first; one per query where there are more.
    """

    min_detections = 300

    def post_process_object_detection(self, outputs, *args, **kwargs) -> list[dict]:
        """As the stock one, which takes one pair per query; arguments and results are the same."""
        missing = max(0, self.min_detections - outputs.logits.shape[1])
        # Queries that are sure of nothing: their scores are 0, which no threshold lets through.
        padded = SimpleNamespace(
            logits=F.pad(outputs.logits, (0, 0, 0, missing), value=float("-inf")),
            pred_boxes=F.pad(outputs.pred_boxes, (0, 0, 0, missing)),
        )
        return super().post_process_object_detection(padded, *args, **kwargs)


class ExactDeimv2ImageProcessor(_MoreDetectionsThanQueries, RTDetrImageProcessor):
    """Stock `RTDetrImageProcessor`, with as many detections as the authors return."""


class ExactDeimv2ImageProcessorPil(_MoreDetectionsThanQueries, RTDetrImageProcessorPil):
    """The same without torchvision."""


ExactDeimv2ImageProcessor.register_for_auto_class()
ExactDeimv2ImageProcessorPil.register_for_auto_class()
