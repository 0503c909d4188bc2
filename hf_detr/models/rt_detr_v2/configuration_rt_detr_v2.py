"""Configurations of the RT-DETRv2 models that stock Transformers cannot represent.

RT-DETRv2 r18, r34, r50 and r101 are stock `RTDetrV2Config`. The r50m predicts with its third layer but trains six, and
DEIM on RT-DETRv2 (https://huggingface.co/papers/2412.04234) has other heads. This file and its sibling are also saved
beside checkpoints, as remote code: they import nothing but torch and transformers.
"""

from transformers import RTDetrV2Config


class EarlyExitRTDetrV2Config(RTDetrV2Config):
    """RT-DETRv2 that stops at a decoder layer before its last one when it predicts.

    Args:
        eval_idx: index of the decoder layer whose outputs are the predictions; -1 is the last.
    """

    model_type = "rt_detr_v2_early_exit"

    initializer_bias_prior_prob: float | None = 0.01
    eval_idx: int = -1


class DeimRTDetrV2Config(EarlyExitRTDetrV2Config):
    """DEIM's RT-DETRv2: SiLU instead of ReLU, positions of queries embedded by three layers, and MAL.

    Args:
        mlp_activation_function: activation inside the box heads and the query position head.
        classification_loss: what `hf_detr.attach_criterion` trains the class heads with.
    """

    model_type = "deim_rt_detr_v2"

    freeze_backbone_batch_norms: bool = False
    decoder_activation_function: str = "silu"
    focal_loss_gamma: float = 1.5
    mlp_activation_function: str = "silu"
    classification_loss: str = "mal"


EarlyExitRTDetrV2Config.register_for_auto_class()
DeimRTDetrV2Config.register_for_auto_class()
