"""Which terms a model is trained with, and with which weights: everything the criterion reads from a configuration."""

from dataclasses import dataclass

from transformers import Deimv2Config, DFineConfig, PreTrainedConfig, RTDetrV2Config

from hf_detr.errors import TrainingError

CLASSIFICATION_LOSSES = ("vfl", "mal", "focal")


@dataclass(frozen=True)
class CriterionOptions:
    """The switches and numbers of one criterion. The defaults are D-FINE's."""

    classification: str = "vfl"  # one of CLASSIFICATION_LOSSES; names the term: loss_vfl, loss_mal, loss_focal
    alpha: float | None = 0.75  # weight of the negatives in VFL, of the positives in focal; MAL: None is no factor
    gamma: float = 2.0
    union_of_matches: bool = True  # boxes and corners are trained on the matches of all outputs together
    auxiliary_outputs: bool = True  # False trains the last decoder layer only
    classification_weight: float = 1.0
    bbox_weight: float = 5.0
    giou_weight: float = 2.0
    fgl_weight: float = 0.15  # with ddf_weight 0 as well: no corner losses
    ddf_weight: float = 1.5
    ddf_temperature: float = 5.0
    num_bins: int = 32  # corner distributions are over num_bins + 1 values; 0: the model regresses boxes directly
    up: float = 0.5
    reg_scale: float = 4.0
    class_cost: float = 2.0
    bbox_cost: float = 5.0
    giou_cost: float = 2.0
    cost_alpha: float = 0.25
    cost_gamma: float = 2.0
    late_iou_power: float = 4.0  # the late matcher's cost is -p * IoU ** late_iou_power

    def __post_init__(self):
        if self.classification not in CLASSIFICATION_LOSSES:
            raise TrainingError(
                f"classification_loss must be one of {', '.join(CLASSIFICATION_LOSSES)}, got {self.classification!r}."
            )

    @property
    def local_losses(self) -> bool:
        """Whether the corner distributions are trained (FGL and DDF)."""
        return self.fgl_weight != 0 or self.ddf_weight != 0


def criterion_options(config: PreTrainedConfig) -> CriterionOptions:
    """Read the criterion of a model from its configuration.

    ==================  ==============  ========  ======================  =====================================
    configuration       classification  gamma     corner losses           union of matches
    ==================  ==============  ========  ======================  =====================================
    `DFineConfig`       VFL             2         FGL, DDF                yes
    `RTDetrV2Config`    VFL             2         none (no corners)       no
    `Deimv2Config`      MAL             1.5       weights 0: none         `config.use_dense_one_to_one`
    ==================  ==============  ========  ======================  =====================================

    Subclasses follow their base. Gamma, weights and costs come from the configuration's own fields. A field
    `classification_loss` ("vfl", "mal" or "focal") chooses the classification term of any of them: that is how DEIM
    and RT-DETRv4 differ from D-FINE. It may also be set on a stock configuration, which saves and loads fields that it
    does not know.

    Raises:
        TrainingError: the configuration belongs to none of these families.
    """
    match config:
        case Deimv2Config():
            classification, union, corners = "mal", config.use_dense_one_to_one, True
        case DFineConfig():
            classification, union, corners = "vfl", True, True
        case RTDetrV2Config():
            classification, union, corners = "vfl", False, False
        case _:
            raise TrainingError(
                f"No criterion for a model of type {config.model_type!r}: its configuration must be or extend "
                "DFineConfig, RTDetrV2Config or Deimv2Config."
            )
    classification = getattr(config, "classification_loss", classification)
    return CriterionOptions(
        classification=classification,
        alpha=getattr(config, "mal_alpha", None) if classification == "mal" else config.focal_loss_alpha,
        gamma=config.focal_loss_gamma,
        union_of_matches=union,
        auxiliary_outputs=config.auxiliary_loss,
        classification_weight=config.weight_loss_mal if isinstance(config, Deimv2Config) else config.weight_loss_vfl,
        bbox_weight=config.weight_loss_bbox,
        giou_weight=config.weight_loss_giou,
        fgl_weight=config.weight_loss_fgl if corners else 0.0,
        ddf_weight=config.weight_loss_ddf if corners else 0.0,
        num_bins=config.max_num_bins if corners else 0,
        up=config.up if corners else 0.0,
        reg_scale=config.reg_scale if corners else 0.0,
        class_cost=config.matcher_class_cost,
        bbox_cost=config.matcher_bbox_cost,
        giou_cost=config.matcher_giou_cost,
        cost_alpha=config.matcher_alpha,
        cost_gamma=config.matcher_gamma,
    )
