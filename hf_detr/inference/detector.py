"""Pictures in, detections out."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hf_detr.data.images import UnreadableImageError, resize_image
from hf_detr.errors import CheckpointError
from hf_detr.inference.ahead import load_ahead
from hf_detr.inference.backends import Backend, TorchBackend
from hf_detr.inference.detections import Detections
from hf_detr.inference.exported import find_exported, load_exported
from hf_detr.inference.pictures import ImageSource, load_picture
from hf_detr.inference.thresholds import Threshold, class_mask, class_thresholds, stored_thresholds
from hf_detr.models.decoding import decode_detections, detections_per_image, prepare_pixels
from hf_detr.models.families import check_image_size
from hf_detr.models.loading import load_detector
from hf_detr.tiles import Tiling, cut_window, merge_detections


class Detector:
    """A detector ready to use.

    The same pixels go in as in training and evaluation, and the same boxes come out as from
    ``transformers.pipeline("object-detection")``; batches, files and arrays work alike.

        detector = Detector.from_pretrained("out")
        for image, found in detector.stream(["a.jpg", "b.jpg"]):
            print(found.path, found.labels, found.boxes_xyxy)

    Args:
        backend: the runtime that holds the model.
        processor: the model's image processor.
        id2label: class id to class name.
        tiling: cut pictures into tiles of this size, for objects that are too small or too many for one look.
        thresholds: confidence from which on a detection counts, by class name; 0.5 for the others.
    """

    def __init__(
        self,
        backend: Backend,
        processor,
        id2label: dict[int, str],
        *,
        tiling: Tiling | None = None,
        thresholds: Mapping[str, float] | None = None,
    ):
        self.tiling = tiling
        self.stored_thresholds = dict(thresholds or {})
        self.backend = backend
        self.processor = processor
        self.id2label = id2label
        self.image_size_hw = _input_size_hw(processor)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | os.PathLike,
        *,
        device: str | torch.device | None = None,
        image_size_hw: tuple[int, int] | None = None,
        revision: str = "main",
        tile: int | tuple[int, int] | None = None,
        tile_overlap: float = 0.2,
        num_queries: int | None = None,
        num_threads: int | None = None,
    ) -> "Detector":
        """Load a local folder or Hub id.

        Args:
            model_name_or_path: a folder that `hf-detr train` or `hf-detr export` wrote, or ``"user/name"``.
            device: by default the best there is.
            image_size_hw: height and width of the model's input in pixels, where it is not to be the one the model was
                trained with.
            revision: branch, tag or commit on the Hub.
            tile: detect in tiles of this side, or height and width, in pixels of the pictures; each is resized to the
                model's size. Default: in the whole picture at once.
            tile_overlap: share of a tile that its neighbour repeats; objects up to that size are seen whole.
            num_queries: most objects found in one picture or tile, where it is not to be the number the model was
                trained with.
            num_threads: of the runtime on the CPU, by default its own choice; of PyTorch it is that of the process.

        Raises:
            CheckpointError: it cannot be found or read, or does not take this image size or number of queries.
        """
        tiling = Tiling.of(tile, tile_overlap)
        exported = find_exported(model_name_or_path)
        if exported is not None:
            if num_queries is not None:
                raise CheckpointError(
                    f"{exported} has the queries it was exported with. Export the model again with another number."
                )
            backend, processor, config = load_exported(exported, device, image_size_hw, num_threads)
            return cls(backend, processor, config.id2label, tiling=tiling, thresholds=stored_thresholds(config))
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        model, processor = load_detector(model_name_or_path, revision)
        return cls.from_model(
            model, processor, device=device, image_size_hw=image_size_hw, tiling=tiling, num_queries=num_queries
        )

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        processor,
        *,
        device: str | torch.device | None = None,
        image_size_hw: tuple[int, int] | None = None,
        tiling: Tiling | None = None,
        num_queries: int | None = None,
    ) -> "Detector":
        """From a model in memory; it is put into evaluation mode and moved to the device."""
        if num_queries is not None:
            if model.config.learn_initial_query:
                raise CheckpointError("This model has learnt its queries: their number cannot be changed.")
            model.config.num_queries = num_queries
        if image_size_hw is not None or num_queries is not None:
            check_image_size(model.config, image_size_hw or _input_size_hw(processor))
        if image_size_hw is not None:
            processor.size = {"height": image_size_hw[0], "width": image_size_hw[1]}
        thresholds = stored_thresholds(model.config)
        return cls(TorchBackend(model, device), processor, model.config.id2label, tiling=tiling, thresholds=thresholds)

    @property
    def num_queries(self) -> int | None:
        """Most objects found in one picture or tile; None where the runtime does not tell."""
        return self.backend.model.config.num_queries if isinstance(self.backend, TorchBackend) else None

    def __call__(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        threshold: Threshold = None,
        classes: Iterable[str] | None = None,
        max_detections: int | None = None,
        batch_size: int = 8,
    ) -> Detections | list[Detections]:
        """Detect objects in one picture, or in each of several.

        Args:
            images: paths, URLs, PIL pictures or ``uint8 (H, W, 3)`` RGB arrays.
            threshold: detections with a score above it are returned. A number, or numbers of some classes by name;
                by default those stored with the model, and 0.5 for classes that have none.
            classes: names of the classes to look for; all by default.
            max_detections: of these the best ones of each picture; by default all that the model has queries for.
            batch_size: pictures, or tiles of one, that go through the model at once.

        Raises:
            UnreadableImageError: a file or URL cannot be read.
            HfDetrError: a class that the model does not know, or a threshold that is no confidence.
        """
        single = isinstance(images, ImageSource)
        stream = self.stream(
            [images] if single else images,
            threshold=threshold,
            classes=classes,
            max_detections=max_detections,
            batch_size=batch_size,
        )
        found = [detections for _, detections in stream]
        return found[0] if single else found

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        threshold: Threshold = None,
        classes: Iterable[str] | None = None,
        max_detections: int | None = None,
        batch_size: int = 8,
        on_unreadable: Callable[[UnreadableImageError], None] | None = None,
    ) -> Iterator[tuple[np.ndarray, Detections]]:
        """Detect objects in any number of pictures, one batch in memory at a time and the next ones being read.

        Args:
            images: as for a call.
            threshold: as for a call.
            classes: as for a call.
            max_detections: as for a call.
            batch_size: as for a call.
            on_unreadable: called for each file that cannot be read, which is then left out; without it the error is
                raised.

        Yields:
            Each picture, ``uint8 (H, W, 3)`` RGB, and what is in it, in the order given.
        """
        limits = self.thresholds(threshold)
        # no score is above 1
        limits = np.where(class_mask(classes, self.id2label), limits, np.float32(1))
        return self._stream(images, limits, max_detections, batch_size, on_unreadable)

    def thresholds(self, threshold: Threshold = None) -> np.ndarray:
        """``(K,)`` the threshold of each class, given what a call is given."""
        return class_thresholds(threshold, self.id2label, self.stored_thresholds)

    @property
    def prepare(self) -> Callable[[np.ndarray], Tensor]:
        """``uint8 (H, W, 3)`` RGB to ``uint8 (3, h, w)`` at the model's size; can be sent to worker processes."""
        return functools.partial(_prepare, size_hw=self.image_size_hw)

    def detect(self, prepared: Tensor, sizes_hw: Tensor, at_least: int = 0) -> Tensor:
        """Run the model on a batch.

        Args:
            prepared: ``uint8 (B, 3, h, w)``, a stack of what `prepare` returns.
            sizes_hw: ``(B, 2)`` height and width of the original pictures in pixels.
            at_least: detections per picture, where there are to be more than the image processor returns (a query can
                stand for several classes). A backend that gives detections has its own number.

        Returns:
            ``(B, D, 6)`` float32 on the backend's device, best first: score, class id, and left, top, right,
            bottom in pixels of the original picture.
        """
        outputs = self.backend(self.model_input(prepared), sizes_hw)
        if self.backend.gives_detections:
            scores, class_ids, boxes_xyxy = outputs
            return torch.cat([scores[..., None], class_ids[..., None].to(scores.dtype), boxes_xyxy], dim=-1)
        logits, pred_boxes = outputs
        top_k = max(at_least, detections_per_image(self.processor, logits.shape[1]))
        return decode_detections(logits, pred_boxes, sizes_hw, top_k=top_k)

    def model_input(self, prepared: Tensor) -> Tensor:
        """What the backend is called with: ``prepared`` on its device, rescaled and normalised unless it does that."""
        pixels = prepared.to(self.backend.device)
        return pixels if self.backend.takes_uint8 else prepare_pixels(pixels, self.processor)

    def detect_picture(self, image: np.ndarray, at_least: int = 0, batch_size: int = 8) -> np.ndarray:
        """Run the model on one picture, or on its tiles where there are to be any.

        Args:
            image: ``uint8 (H, W, 3)`` RGB.
            at_least: detections of the picture, or of each tile, see `detect`.
            batch_size: tiles that go through the model at once.

        Returns:
            ``(n, 6)``, best first, as of `detect`.
        """
        size_hw = image.shape[:2]
        if self.tiling is None:
            return self.detect(self.prepare(image)[None], torch.tensor([size_hw]), at_least)[0].cpu().numpy()
        windows = self.tiling.windows(size_hw)
        found = []
        for first in range(0, len(windows), batch_size):
            part = windows[first : first + batch_size]
            tiles = torch.stack([self.prepare(cut_window(image, window)) for window in part])
            detections = self.detect(tiles, torch.tensor([self.tiling.size_hw] * len(part)), at_least)
            detections = detections.cpu().double().numpy()
            detections[..., 2:] += np.tile(part[:, None, :2], 2)
            found.append(detections)
        per_tile = np.concatenate(found)
        tile_of = np.repeat(np.arange(len(windows)), per_tile.shape[1])
        return merge_detections(per_tile.reshape(-1, 6), tile_of, windows, size_hw)

    def _stream(
        self,
        images: Iterable[ImageSource],
        limits: np.ndarray,
        max_detections: int | None,
        batch_size: int,
        on_unreadable: Callable[[UnreadableImageError], None] | None,
    ) -> Iterator[tuple[np.ndarray, Detections]]:
        batch: list[_Loaded] = []
        at_once = batch_size if self.tiling is None else 1
        for future in load_ahead(images, self._load, ahead=2 * at_once):
            try:
                batch.append(future.result())
            except UnreadableImageError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(error)
            if len(batch) == at_once:
                yield from self._detect_batch(batch, limits, max_detections, batch_size)
                batch = []
        if batch:
            yield from self._detect_batch(batch, limits, max_detections, batch_size)

    def _load(self, source: ImageSource) -> "_Loaded":
        image, path = load_picture(source)
        return image, self.prepare(image) if self.tiling is None else None, path

    def _detect_batch(
        self, batch: "list[_Loaded]", limits: np.ndarray, max_detections: int | None, batch_size: int
    ) -> Iterator[tuple[np.ndarray, Detections]]:
        at_least = max_detections or 0
        if self.tiling is None:
            sizes_hw = torch.tensor([image.shape[:2] for image, _, _ in batch])
            found = self.detect(torch.stack([prepared for _, prepared, _ in batch]), sizes_hw, at_least).cpu().numpy()
        else:
            found = [self.detect_picture(image, at_least, batch_size).astype(np.float32) for image, _, _ in batch]
        for (image, _, path), rows in zip(batch, found, strict=True):
            detections = Detections.from_rows(rows, self.id2label, image.shape[:2], threshold=limits, path=path)
            yield image, detections.take(np.arange(len(detections))[:max_detections])


# Picture, model input where the picture is one, and path or URL if there is one.
_Loaded = tuple[np.ndarray, Tensor | None, Path | str | None]


def _prepare(image: np.ndarray, size_hw: tuple[int, int]) -> Tensor:
    return torch.from_numpy(resize_image(image, size_hw)).permute(2, 0, 1)


def _input_size_hw(processor) -> tuple[int, int]:
    """Height and width the processor resizes to.

    Raises:
        CheckpointError: it does something else than resize to that size, bilinearly.
    """
    size = processor.size
    bilinear = int(processor.resample) == Image.Resampling.BILINEAR
    if not (processor.do_resize and bilinear and size.get("height") and size.get("width")) or processor.do_pad:
        raise CheckpointError(
            "The model's preprocessor_config.json asks for something else than a bilinear resize to one height and "
            f"width: do_resize={processor.do_resize}, resample={processor.resample}, size={dict(size)}, "
            f"do_pad={processor.do_pad}."
        )
    return size["height"], size["width"]
