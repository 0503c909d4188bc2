"""From which teacher a detector learns, and how much."""

import math
from dataclasses import dataclass, field

from hf_detr.errors import RecipeError

TEACHER_DTYPES = ("auto", "float32", "bfloat16")


@dataclass
class DistillationArguments:
    """A frozen vision model whose features the detector's encoder imitates, as RT-DETRv4's does
    (https://huggingface.co/papers/2510.25257). Without `teacher` there is none.

    The weight of the term is constant, or follows the paper's rule with `distill_target_share`.
    """

    teacher: str | None = field(
        default=None,
        metadata={
            "help": "Vision model to learn from: Hub id, local folder, DINOv3 .pth file, or timm model as timm/NAME; "
            "`none` where a recipe has one and you want none."
        },
    )
    teacher_revision: str = field(
        default="main", metadata={"help": "Branch, tag or commit of the teacher on the Hub."}
    )
    teacher_dtype: str = field(
        default="auto",
        metadata={
            "help": "Precision the teacher computes in; auto: bfloat16 on a GPU that has it, else float32.",
            "choices": list(TEACHER_DTYPES),
        },
    )
    teacher_compile: bool = field(default=False, metadata={"help": "Compile the teacher with torch.compile."})
    teacher_every: int = field(
        default=1, metadata={"help": "Run the teacher in every n-th step only; other steps have no distillation term."}
    )
    distill_weight: float = field(
        default=5.0, metadata={"help": "Weight of the distillation term; where it starts if it is adaptive."}
    )
    distill_target_share: float | None = field(
        default=None,
        metadata={
            "help": "Percentage of all gradient that the transformer encoder should get; the weight is adapted to it "
            "after every epoch. Default: a constant weight."
        },
    )
    distill_tolerance: float = field(
        default=1.0, metadata={"help": "Percentage points around distill_target_share within which the weight stays."}
    )
    distill_final_weight: float | None = field(
        default=None,
        metadata={
            "help": "If the weight is adaptive: the weight after the first epoch of the last stage, and where the "
            "encoder gets no gradient."
        },
    )

    @property
    def ever_weighs(self) -> bool:
        """Whether the term has a weight at any time; if not, the run is to the bit one without a teacher."""
        return self.distill_weight > 0 or bool(self.distill_final_weight)

    def __post_init__(self) -> None:
        if self.teacher == "none":
            self.teacher = None
        if self.teacher_dtype not in TEACHER_DTYPES:
            raise RecipeError(f"teacher_dtype must be one of {', '.join(TEACHER_DTYPES)}, got {self.teacher_dtype!r}.")
        if self.teacher_every < 1:
            raise RecipeError(f"teacher_every must be 1 or more, got {self.teacher_every}.")
        for name in ("distill_weight", "distill_final_weight"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise RecipeError(f"{name} must be 0 or more, got {value}.")
        if self.distill_target_share is None:
            if self.distill_final_weight is not None:
                raise RecipeError(
                    f"distill_final_weight is {self.distill_final_weight}, but the weight is constant without "
                    "distill_target_share. Give that too, or leave distill_final_weight out."
                )
            return
        lower = self.distill_target_share - self.distill_tolerance
        upper = self.distill_target_share + self.distill_tolerance
        if not (self.distill_tolerance >= 0 and lower > 0 and upper < 100):
            raise RecipeError(
                f"distill_target_share {self.distill_target_share} with distill_tolerance {self.distill_tolerance} "
                f"gives {lower:g} to {upper:g} percent; both must lie between 0 and 100."
            )
