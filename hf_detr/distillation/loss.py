"""How far a student's features are from its teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_distillation_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """1 - cosine of the two vectors of each place, averaged over places and batch, in float32.

    The term of RT-DETRv4 (https://huggingface.co/papers/2510.25257) before its weight. A teacher's map of another size
    is resized to the student's, bilinearly.

    Args:
        student_features: ``(B, C, H, W)``, projected to the teacher's channels.
        teacher_features: ``(B, C, h, w)``, no gradient flows into it.

    Returns:
        A scalar from 0 to 2.
    """
    with torch.autocast(student_features.device.type, enabled=False):
        student, teacher = student_features.float(), teacher_features.detach().float()
        if teacher.shape[-2:] != student.shape[-2:]:
            teacher = F.interpolate(teacher, student.shape[-2:], mode="bilinear", align_corners=False)
        return 1 - F.cosine_similarity(student, teacher, dim=1).mean()
