"""Configurations of DEIM on D-FINE (https://huggingface.co/papers/2412.04234) and RT-DETRv4
(https://huggingface.co/papers/2510.25257).

Both are D-FINE with other activations in the heads and another classification loss. This file and its sibling are also
saved beside checkpoints, as remote code: they import nothing but torch and transformers.
"""

from transformers import DFineConfig


class DeimConfig(DFineConfig):
    """D-FINE whose heads use SiLU and whose classification loss is MAL.

    Args:
        mlp_activation_function: activation inside the box heads, the query position head and the quality heads; stock
            D-FINE has ReLU there.
        classification_loss: what `hf_detr.attach_criterion` trains the class heads with.
    """

    model_type = "deim"

    initializer_bias_prior_prob: float | None = 0.01
    freeze_backbone_batch_norms: bool = False
    decoder_activation_function: str = "silu"
    focal_loss_gamma: float = 1.5
    mlp_activation_function: str = "silu"
    classification_loss: str = "mal"


class RTDetrV4Config(DeimConfig):
    """DEIM's model, and a projector to the features of a teacher while it is trained.

    Args:
        teacher_dim: channels of the teacher's features, 768 for ViT-B; None leaves the projector out.
    """

    model_type = "rt_detr_v4"

    teacher_dim: int | None = None


DeimConfig.register_for_auto_class()
RTDetrV4Config.register_for_auto_class()
