"""Configuration of DEIMv2 (https://huggingface.co/papers/2509.20787) as its authors compute it.

Stock Transformers has a DEIMv2 with the same fields whose forward is another function. This file and its sibling are
also saved beside checkpoints, as remote code: they import nothing but torch and transformers.
"""

from transformers import Deimv2Config


class ExactDeimv2Config(Deimv2Config):
    """Stock `Deimv2Config` with the authors' values where the stock defaults differ.

    Args:
        mlp_activation_function: activation inside the box heads and the quality heads; the stock model has ReLU there.
    """

    model_type = "deimv2_exact"

    initializer_bias_prior_prob: float | None = 0.01
    freeze_backbone_batch_norms: bool = False
    decoder_activation_function: str = "silu"
    focal_loss_gamma: float = 1.5
    mlp_activation_function: str = "silu"


ExactDeimv2Config.register_for_auto_class()
