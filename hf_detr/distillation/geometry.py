"""How the output of a vision network becomes a map of features."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hf_detr.errors import CheckpointError


@dataclass(frozen=True)
class MapGeometry:
    """How a network's output becomes a map.

    Attributes:
        feature_dim: channels.
        stride: pixels of the network's own input per place.
        prefix_tokens: tokens before those of the places, such as the class token and registers.
        channels_last: whether a four-dimensional output is ``(B, h, w, C)``.
    """

    feature_dim: int
    stride: int
    prefix_tokens: int = 0
    channels_last: bool = False


def to_map(output: Tensor, grid_hw: tuple[int, int], geometry: MapGeometry) -> Tensor:
    """``(B, C, h, w)`` from tokens in rows, or from a map with its channels anywhere."""
    if output.ndim == 3:
        return output[:, geometry.prefix_tokens :].unflatten(1, grid_hw).movedim(-1, 1)
    return output.movedim(-1, 1) if geometry.channels_last else output


@torch.no_grad()
def measure_geometry(network: nn.Module, *, patch_size: int = 4, feature_dim: int | None = None) -> MapGeometry:
    """Find out from two small pictures what a network's output means.

    Tokens say it by their number: a picture twice as wide has twice as many for places, and as many before them.

    Args:
        network: in evaluation mode.
        patch_size: of a vision transformer in pixels. Convolutional networks need none.
        feature_dim: channels, where the network knows them; tells whether they come last in a map.

    Raises:
        CheckpointError: the output is no map of places.
    """
    side = 8 * patch_size
    reference = next(network.parameters())
    square, wide = (
        network(torch.zeros(1, 3, side, width, device=reference.device, dtype=reference.dtype))
        for width in (side, 2 * side)
    )
    if square.ndim == 3:
        places = wide.shape[1] - square.shape[1]
        prefix_tokens = square.shape[1] - places
        rows = math.isqrt(max(places, 0))
        if rows == 0 or rows * rows != places or side % rows or prefix_tokens < 0:
            raise CheckpointError(
                f"pictures of {side} x {side} and {side} x {2 * side} px give {square.shape[1]} and {wide.shape[1]} "
                f"tokens, which is no grid of patches of {patch_size} px"
            )
        return MapGeometry(square.shape[2], side // rows, prefix_tokens)
    if square.ndim != 4:
        raise CheckpointError(f"a picture gives features of shape {list(square.shape)}, which is no map")
    channels_last = feature_dim is not None and square.shape[1] != feature_dim == square.shape[-1]
    map_of_square, map_of_wide = (x.movedim(-1, 1) if channels_last else x for x in (square, wide))
    rows, columns = map_of_square.shape[-2:]
    if rows != columns or map_of_wide.shape[-2:] != (rows, 2 * rows) or side % rows:
        raise CheckpointError(
            f"pictures of {side} x {side} and {side} x {2 * side} px give maps of {list(map_of_square.shape[-2:])} "
            f"and {list(map_of_wide.shape[-2:])} places, which do not grow with the picture"
        )
    return MapGeometry(map_of_square.shape[1], side // rows, channels_last=channels_last)
