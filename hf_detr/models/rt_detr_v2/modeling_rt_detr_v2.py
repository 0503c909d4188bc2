"""RT-DETRv2 that predicts with an earlier layer than its last, and DEIM's variant of it.

Imports torch and transformers only: the file is saved beside checkpoints.
"""

from collections.abc import Iterator
from itertools import islice, pairwise

from torch import Tensor, nn
from transformers import RTDetrV2ForObjectDetection
from transformers.activations import ACT2CLS
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import RTDetrV2ObjectDetectionOutput
from transformers.utils.generic import can_return_tuple

from .configuration_rt_detr_v2 import DeimRTDetrV2Config, EarlyExitRTDetrV2Config


class EarlyExitLayers(nn.ModuleList):
    """Decoder layers of which evaluation runs the first ``num_evaluated`` only, and training all."""

    def __init__(self, layers: nn.ModuleList, num_evaluated: int):
        super().__init__(layers)
        self.num_evaluated = num_evaluated

    def __iter__(self) -> Iterator[nn.Module]:
        return islice(super().__iter__(), len(self) if self.training else self.num_evaluated)


class EarlyExitRTDetrV2ForObjectDetection(RTDetrV2ForObjectDetection):
    """RT-DETRv2 that predicts with decoder layer `config.eval_idx` and trains all of them."""

    config_class = EarlyExitRTDetrV2Config

    def __init__(self, config: EarlyExitRTDetrV2Config):
        super().__init__(config)
        num_evaluated = config.eval_idx % config.decoder_layers + 1
        self.model.decoder.layers = EarlyExitLayers(self.model.decoder.layers, num_evaluated)

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, labels: list[dict] | None = None, **kwargs
    ) -> RTDetrV2ObjectDetectionOutput:
        """As RT-DETRv2; evaluation leaves out what does not start with the batch, so that pipelines can batch."""
        outputs = super().forward(pixel_values, labels=labels, return_dict=True, **kwargs)
        if self.training:
            return outputs
        return type(outputs)(**{name: v for name, v in outputs.items() if name != "encoder_last_hidden_state"})


class ActivatedMLP(nn.Module):
    """Linear layers with an activation between them, under the names of the stock prediction head."""

    def __init__(self, widths: list[int], activation: str):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.act = ACT2CLS[activation]()

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            values = self.act(layer(values))
        return self.layers[-1](values)


class DeimRTDetrV2ForObjectDetection(EarlyExitRTDetrV2ForObjectDetection):
    """DEIM's RT-DETRv2: `config.mlp_activation_function` in the heads, and a query position head of three layers."""

    config_class = DeimRTDetrV2Config

    def __init__(self, config: DeimRTDetrV2Config):
        super().__init__(config)
        width, activation = config.d_model, config.mlp_activation_function
        self.model.enc_bbox_head = ActivatedMLP([width, width, width, 4], activation)
        self.model.decoder.query_pos_head = ActivatedMLP([4, width, width, width], activation)
        heads = [ActivatedMLP([width, width, width, 4], activation) for _ in range(config.decoder_layers)]
        self.model.decoder.bbox_embed = nn.ModuleList(heads)
        self.bbox_embed = nn.ModuleList(heads)


EarlyExitRTDetrV2ForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
DeimRTDetrV2ForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
