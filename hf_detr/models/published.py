"""What the authors published of each model: COCO AP, size, speed, and where to read it."""

from typing import NamedTuple


class Paper(NamedTuple):
    """Where a family comes from."""

    title: str
    url: str
    licence: str  # of the authors' code and checkpoints


class Published(NamedTuple):
    """One size, as its authors state it: COCO val2017, TensorRT fp16 on a T4 with batch 1."""

    average_precision: float
    parameters_millions: float
    gflops: float
    latency_ms: float


PAPERS = {
    "d_fine": Paper("D-FINE", "https://huggingface.co/papers/2410.13842", "Apache-2.0"),
    "deim": Paper("DEIM", "https://huggingface.co/papers/2412.04234", "Apache-2.0"),
    "rt_detr_v2": Paper("RT-DETRv2", "https://huggingface.co/papers/2407.17140", "Apache-2.0"),
    "rt_detr_v4": Paper("RT-DETRv4", "https://huggingface.co/papers/2510.25257", "Apache-2.0"),
    "deimv2": Paper("DEIMv2", "https://huggingface.co/papers/2509.20787", "Apache-2.0; s, m, l, x: also DINOv3's"),
}

# RT-DETRv2's authors state pictures per second (217, 161, 145, 108, 74); DEIMv2's say nothing of the hg sizes.
PUBLISHED = {
    ("d_fine", "n"): Published(42.8, 4, 7, 2.12),
    ("d_fine", "s"): Published(48.5, 10, 25, 3.49),
    ("d_fine", "m"): Published(52.3, 19, 57, 5.62),
    ("d_fine", "l"): Published(54.0, 31, 91, 8.07),
    ("d_fine", "x"): Published(55.8, 62, 202, 12.89),
    ("deim", "n"): Published(43.0, 4, 7, 2.12),
    ("deim", "s"): Published(49.0, 10, 25, 3.49),
    ("deim", "m"): Published(52.7, 19, 57, 5.62),
    ("deim", "l"): Published(54.7, 31, 91, 8.07),
    ("deim", "x"): Published(56.5, 62, 202, 12.89),
    ("deim", "r18"): Published(49.0, 20, 60, 4.59),
    ("deim", "r34"): Published(50.9, 31, 92, 6.40),
    ("deim", "r50m"): Published(53.2, 33, 100, 6.90),
    ("deim", "r50"): Published(54.3, 42, 136, 9.15),
    ("deim", "r101"): Published(55.5, 76, 259, 13.66),
    ("rt_detr_v4", "s"): Published(49.8, 10, 25, 3.66),
    ("rt_detr_v4", "m"): Published(53.7, 19, 57, 5.91),
    ("rt_detr_v4", "l"): Published(55.4, 31, 91, 8.07),
    ("rt_detr_v4", "x"): Published(57.0, 62, 202, 12.90),
    ("rt_detr_v2", "r18"): Published(48.1, 20, 60, 4.61),
    ("rt_detr_v2", "r34"): Published(49.9, 31, 92, 6.21),
    ("rt_detr_v2", "r50m"): Published(51.9, 36, 100, 6.90),
    ("rt_detr_v2", "r50"): Published(53.4, 42, 136, 9.26),
    ("rt_detr_v2", "r101"): Published(54.3, 76, 259, 13.51),
    ("deimv2", "atto"): Published(23.8, 0.5, 0.8, 1.10),
    ("deimv2", "femto"): Published(31.0, 1.0, 1.7, 1.45),
    ("deimv2", "pico"): Published(38.5, 1.5, 5.2, 2.13),
    ("deimv2", "n"): Published(43.0, 3.6, 6.8, 2.32),
    ("deimv2", "s"): Published(50.9, 9.7, 25.6, 5.78),
    ("deimv2", "m"): Published(53.0, 18.1, 52.2, 8.80),
    ("deimv2", "l"): Published(56.0, 32.2, 96.7, 10.47),
    ("deimv2", "x"): Published(57.8, 50.3, 151.6, 13.75),
}
