"""The papers' augmentation, composed of torchvision's operations on Pillow's pictures as the authors do it.

What `input_pipeline.py` and `augmentation_ap.py` measure ours against: D-FINE's operations in their order and with
their chances (https://huggingface.co/papers/2410.13842), and DEIM's mosaic (https://huggingface.co/papers/2412.04234),
which takes the place of zoom-out and crop. Written from the papers and the authors' configurations.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from hf_detr.boxes import clip_xyxy, is_valid_xyxy, xywh_to_xyxy
from hf_detr.data.dataset import Sample
from hf_detr.data.index import DetectionIndex

Inputs = tuple[Image.Image, dict[str, Tensor]]  # a picture, its boxes (xyxy pixels) and labels


class TorchvisionPipeline:
    """Colours, zoom-out, IoU crop, flip and resize, or a mosaic in place of zoom-out and crop.

    Args:
        size: sides of the square that comes out, in pixels; tiles of a mosaic have half of it as their shorter side.
        mosaic_prob: chance of a mosaic.
        photometric_prob, zoom_out_prob, iou_crop_prob, flip_prob: chances of the others.
        mosaic_scale: range of the factor that a mosaic is scaled by; only a test has reason to change it.
    """

    def __init__(
        self,
        size: int,
        *,
        mosaic_prob: float = 0.5,
        photometric_prob: float = 0.5,
        zoom_out_prob: float = 0.5,
        iou_crop_prob: float = 0.8,
        flip_prob: float = 0.5,
        mosaic_scale: tuple[float, float] = (0.5, 1.5),
    ):
        self.mosaic_prob = mosaic_prob
        self._tile = v2.Resize(size // 2, antialias=True)
        self._warp = v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=mosaic_scale, fill=0)
        self._colours = v2.RandomPhotometricDistort(p=photometric_prob)
        self._frame = v2.Compose(
            [v2.RandomZoomOut(fill=0, p=zoom_out_prob), v2.RandomApply([v2.RandomIoUCrop()], p=iou_crop_prob)]
        )
        self._rest = v2.Compose(
            [
                v2.SanitizeBoundingBoxes(min_size=1),
                v2.RandomHorizontalFlip(flip_prob),
                v2.Resize([size, size]),
                v2.SanitizeBoundingBoxes(min_size=1),
            ]
        )

    def __call__(self, picture: Image.Image, target: dict[str, Tensor], other: Callable[[], Inputs]) -> Inputs:
        if torch.rand(1) < self.mosaic_prob:
            inputs = self._colours(*self.mosaic([(picture, target), other(), other(), other()]))
        else:
            inputs = self._frame(*self._colours(picture, target))
        return self._rest(*inputs)

    def mosaic(self, tiles: list[Inputs]) -> Inputs:
        """Four pictures on one canvas of two by two cells, turned, shifted and scaled."""
        tiles = [self._tile(*tile) for tile in tiles]
        width, height = (max(picture.size[axis] for picture, _ in tiles) for axis in (0, 1))
        canvas, boxes, labels = Image.new("RGB", (2 * width, 2 * height)), [], []
        for k, (picture, target) in enumerate(tiles):
            left, top = k % 2 * width, k // 2 * height
            canvas.paste(picture, (left, top))
            boxes.append(target["boxes"].as_subclass(Tensor) + torch.tensor([left, top, left, top]))
            labels.append(target["labels"])
        target = {"boxes": _boxes(torch.cat(boxes), canvas), "labels": torch.cat(labels)}
        return self._warp(canvas, target)


class TorchvisionDataset(torch.utils.data.Dataset):
    """What the authors' training reads: ``float32 (3, size, size)`` in [0, 1], boxes as normalised cxcywh, labels."""

    def __init__(self, index: DetectionIndex, pipeline: TorchvisionPipeline):
        self.index, self.pipeline = index, pipeline

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, image: int) -> tuple[Tensor, dict[str, Tensor]]:
        picture, target = self.pipeline(*self._load(image), lambda: self._load(int(torch.randint(len(self), ()))))
        pixels = tv.pil_to_tensor(picture).float() / 255.0
        boxes = tv.convert_bounding_box_format(target["boxes"], new_format="CXCYWH") / picture.width
        return pixels, target | {"boxes": boxes}

    def _load(self, image: int) -> Inputs:
        index, rows = self.index, slice(self.index.first[image], self.index.first[image + 1])
        with Image.open(index.image_path(image)) as opened:
            picture = opened.convert("RGB")
        boxes_xyxy = clip_xyxy(xywh_to_xyxy(index.boxes_xywh[rows]), (picture.height, picture.width))
        kept = ~index.is_crowd[rows] & is_valid_xyxy(boxes_xyxy)
        labels = torch.from_numpy(index.class_ids[rows][kept].astype(np.int64))
        return picture, {"boxes": _boxes(torch.from_numpy(boxes_xyxy[kept]).float(), picture), "labels": labels}


class TorchvisionTransform:
    """The same as a transform of `DetectionDataset`, drawn from the generator that the sample brings."""

    def __init__(self, pipeline: TorchvisionPipeline):
        self.pipeline = pipeline

    def __call__(self, sample: Sample, rng: np.random.Generator, epoch: int) -> Sample:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            picture, target = self.pipeline(*_inputs(sample), lambda: _inputs(sample["load_other"](rng)))
        return sample | {
            "image": np.array(picture),
            "boxes_xyxy": target["boxes"].numpy(),
            "class_ids": target["labels"].numpy(),
        }


def _inputs(sample: Sample) -> Inputs:
    picture = Image.fromarray(sample["image"])
    labels = torch.from_numpy(sample["class_ids"])
    return picture, {"boxes": _boxes(torch.from_numpy(sample["boxes_xyxy"]), picture), "labels": labels}


def _boxes(boxes_xyxy: Tensor, picture: Image.Image) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(boxes_xyxy, format="XYXY", canvas_size=(picture.height, picture.width))
