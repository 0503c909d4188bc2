"""From pictures to model input and from model output to boxes, on the device and to the bit as the image processor.

Pure tensor operations without a copy to the host, so that training can evaluate and a detector can predict at speed.
"""

import torch
from torch import Tensor

from hf_detr.boxes import cxcywh_to_xyxy

# The authors' post-processors keep this many detections per image, also from models with fewer queries: a query can
# stand for several classes. COCO's AP counts them.
EVALUATED_DETECTIONS = 300


def detections_per_image(processor, num_queries: int) -> int:
    """How many detections the image processor returns at threshold 0, where there are that many pairs."""
    return max(getattr(processor, "min_detections", 0), num_queries)


def decode_detections(logits: Tensor, pred_boxes: Tensor, sizes_hw: Tensor, top_k: int) -> Tensor:
    """The best ``top_k`` pairs of query and class of each image, best first.

    Equal to `post_process_object_detection` of the image processors with threshold 0, to the bit.

    Args:
        logits: ``(B, Q, K)``, before the sigmoid.
        pred_boxes: ``(B, Q, 4)`` cxcywh, normalised.
        sizes_hw: ``(B, 2)`` height and width of each original picture in pixels.
        top_k: detections per image; at most ``Q * K``, and fewer come out where there are not as many.

    Returns:
        ``(B, top_k, 6)`` float32: score, class id, and left, top, right, bottom in pixels of the original picture.
    """
    num_classes = logits.shape[2]
    scores = logits.float().sigmoid().flatten(1)
    scores, index = scores.topk(min(top_k, scores.shape[1]), dim=-1)
    height, width = sizes_hw.to(pred_boxes.device).unbind(1)
    boxes_xyxy = cxcywh_to_xyxy(pred_boxes.float()) * torch.stack([width, height, width, height], dim=1)[:, None, :]
    query = index.div(num_classes, rounding_mode="floor")
    boxes_xyxy = boxes_xyxy.gather(1, query[..., None].expand(-1, -1, 4))
    return torch.cat([scores[..., None], (index % num_classes)[..., None].to(scores.dtype), boxes_xyxy], dim=-1)


def prepare_pixels(images: Tensor, processor, *, normalise: bool = True) -> Tensor:
    """Model input from resized pictures, equal to what the image processor gives, to the bit.

    Args:
        images: uint8 ``(B, 3, H, W)`` RGB on any device, already at the model's size.
        processor: the model's image processor; its rescaling and normalisation are applied.
        normalise: False leaves the values in [0, 1], whatever the processor does.

    Returns:
        float32 ``(B, 3, H, W)`` on the same device.
    """
    return processor.rescale_and_normalize(
        images,
        processor.do_rescale,
        processor.rescale_factor,
        processor.do_normalize and normalise,
        processor.image_mean,
        processor.image_std,
    )
