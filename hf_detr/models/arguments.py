"""What to train: a checkpoint, or a family and size from scratch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelArguments:
    """The detector. Either `model_name_or_path`, or `family` and `size` with `from_scratch`."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Hub id or local folder of the checkpoint to start from."}
    )
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the checkpoint on the Hub."})
    from_scratch: bool = field(
        default=False, metadata={"help": "Start from random weights instead of `model_name_or_path`."}
    )
    family: str = field(
        default="d_fine",
        metadata={"help": "Family of a model from scratch: d_fine, deim, rt_detr_v2, rt_detr_v4 or deimv2."},
    )
    size: str = field(
        default="s", metadata={"help": "Size within the family, such as n s m l x; `hf-detr info` lists them."}
    )
    num_queries: int | None = field(
        default=None, metadata={"help": "Most objects found in one image. Default: the model's own, 300."}
    )
    class_map: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Classes whose pretrained rows carry over under another name, as old:new. E.g. car:vehicle."
        },
    )
    config_overrides: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Fields of the model configuration to change, as JSON. E.g. '{\"decoder_layers\": 4}'."},
    )
