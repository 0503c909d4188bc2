"""Which data to train on, and how pictures are changed before the model sees them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DataArguments:
    """Where the pictures and annotations are, and how they are read."""

    data: str | None = field(
        default=None,
        metadata={"help": "Folder with the data set, in one of the usual layouts, or USER/NAME on the Hub."},
    )
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a Hugging Face data set that has several."}
    )
    data_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a data set on the Hub."}
    )
    train_split: str | None = field(
        default=None,
        metadata={"help": "Split of a Hugging Face data set to train on, or a part such as 'train[:90%]'."},
    )
    valid_split: str | None = field(default=None, metadata={"help": "Likewise, to evaluate on."})
    box_format: str | None = field(
        default=None,
        metadata={
            "help": "How boxes of a Hugging Face data set are written; `_norm` is in fractions of the picture. "
            "Default: found out from the boxes.",
            "choices": ["xywh", "xyxy", "cxcywh", "xywh_norm", "xyxy_norm", "cxcywh_norm"],
        },
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Read training pictures from Parquet files where they are, on the Hub or a slow disk."},
    )
    shuffle_window: int = field(
        default=1000,
        metadata={"help": "With streaming: pictures, undecoded, that each loader process draws from at a time."},
    )
    train_images: str | None = field(default=None, metadata={"help": "Training pictures, if --data does not fit."})
    train_annotations: str | None = field(default=None, metadata={"help": "Their annotations: a file or a folder."})
    valid_images: str | None = field(default=None, metadata={"help": "Validation pictures, likewise."})
    valid_annotations: str | None = field(default=None, metadata={"help": "Likewise, of --valid_images."})
    image_size: list[int] = field(
        default_factory=lambda: [640],
        metadata={"help": "Input size in pixels: one number for a square, or height and width. Multiples of 32."},
    )
    tile_size: list[int] | None = field(
        default=None,
        metadata={
            "help": "Train and evaluate on tiles of the pictures: one number of pixels for a square, or height and "
            "width; each is resized to image_size. Default: on whole pictures."
        },
    )
    tile_overlap: float = field(default=0.2, metadata={"help": "Share of a tile that its neighbour repeats."})
    tile_min_visible: float = field(
        default=0.3,
        metadata={"help": "An object is learnt from tiles that show at least this share of its area."},
    )
    repeat_factor_threshold: float | None = field(
        default=None,
        metadata={
            "help": "Pictures of classes that occur in less than this share of the pictures come more often (LVIS: "
            "0.001). Default: every picture once per epoch."
        },
    )
    background_share: float | None = field(
        default=None,
        metadata={"help": "Share of an epoch that are pictures without objects. Default: as many as there are."},
    )
    check_data: bool = field(
        default=True, metadata={"help": "Check the annotations before training, as `hf-detr check` does."}
    )
    on_unreadable: str = field(
        default="skip",
        metadata={
            "help": "A picture that cannot be read: `skip` it (counted and named in the log) or `raise` an error.",
            "choices": ["skip", "raise"],
        },
    )
    cache_images: str = field(
        default="none",
        metadata={
            "help": "`ram` decodes the training pictures once and keeps them in memory, shared by all processes.",
            "choices": ["none", "ram"],
        },
    )
    decode_side: int | None = field(
        default=None,
        metadata={
            "help": "Read large training pictures at a half, a quarter or an eighth of their size, as far as the "
            "shorter side keeps this many pixels: faster, and less memory. Default: at their own size."
        },
    )


@dataclass
class AugmentArguments:
    """Random changes to training pictures, in the order of D-FINE's recipe (https://huggingface.co/papers/2410.13842).

    All but the flip stop for the last epochs, see `no_aug_epochs` of the training arguments. Mosaic, mixup and
    copyblend are DEIM's (https://huggingface.co/papers/2412.04234); with any of them the first epochs are plain.
    Epochs that are not given follow from the length of the run, see `hf_detr.data.policy`.
    """

    photometric_prob: float = field(
        default=0.5,
        metadata={
            "help": "Chance of each change of colours: brightness, contrast, saturation, hue, order of the channels."
        },
    )
    zoom_out_prob: float = field(
        default=0.5, metadata={"help": "Chance that the picture shrinks on a canvas up to 4 times as wide and high."}
    )
    iou_crop_prob: float = field(
        default=0.8, metadata={"help": "Chance of a random crop that keeps the overlap with some object high enough."}
    )
    flip_prob: float = field(default=0.5, metadata={"help": "Chance of a left-right flip; 0 for text and digits."})
    min_box_side: float = field(
        default=1.0, metadata={"help": "Boxes thinner than this many pixels after augmentation are dropped."}
    )
    multi_scale: bool = field(
        default=True, metadata={"help": "Draw each batch's size between 75 % and 125 % of `image_size`."}
    )
    multi_scale_repeat: int = field(
        default=20, metadata={"help": "How many times `image_size` itself is among the sizes that are drawn from."}
    )
    mosaic_prob: float = field(
        default=0.0, metadata={"help": "Chance that four pictures become one, in place of zoom-out and crop."}
    )
    mixup_prob: float = field(
        default=0.0, metadata={"help": "Chance that the pictures of a batch are blended, each with the one before."}
    )
    copyblend_prob: float = field(
        default=0.0,
        metadata={"help": "Chance that objects are blended into other pictures of the batch; not with mixup."},
    )
    albumentations: str | list[dict[str, Any] | str] | None = field(
        default=None,
        metadata={
            "help": "Your own pipeline after the others: a YAML or JSON file, or in a recipe a list such as "
            "`- GaussNoise: {p: 0.2}`."
        },
    )
    augment_epochs: list[float] | None = field(
        default=None,
        metadata={
            "help": "Epochs with colours, zoom-out and crop: first, and first without; below 1, shares of the run. "
            "Default: all but the last stage, and but the first 4 where there is mosaic, mixup or copyblend."
        },
    )
    mosaic_epochs: list[float] | None = field(
        default=None, metadata={"help": "Likewise. Default: like augment_epochs, but to the end of the flat stage."}
    )
    mixup_epochs: list[float] | None = field(
        default=None, metadata={"help": "Likewise. Default: those of the mosaic."}
    )
    copyblend_epochs: list[float] | None = field(
        default=None, metadata={"help": "Likewise. Default: those of colours, zoom-out and crop."}
    )
