"""Which shapes an engine of TensorRT is built for, and the `trtexec` line that builds the same."""

import shlex
from dataclasses import dataclass

from hf_detr.export.graph import PIXELS, SIZES, GraphOptions
from hf_detr.models.families import SIZE_MULTIPLE

Shape = tuple[int, ...]

# What a graph of any size takes at least, see `DetectorGraph.dynamic_shapes`.
_SMALLEST_SIDE = 2 * SIZE_MULTIPLE


@dataclass(frozen=True)
class ShapeRange:
    """The shapes of one input.

    Attributes:
        smallest: that the engine takes.
        tuned: that it is fastest for.
        largest: that it takes.
    """

    smallest: Shape
    tuned: Shape
    largest: Shape

    @property
    def varies(self) -> bool:
        """Whether there is more than one."""
        return self.smallest != self.largest


def shape_ranges(options: GraphOptions, image_size_hw: tuple[int, int], max_batch: int) -> dict[str, ShapeRange]:
    """The shapes of each input, by name.

    One picture up to ``max_batch``, tuned for ``max_batch``; and one size, or with `dynamic_size` from half of it to
    its double, tuned for it.

    Args:
        options: what may vary in the graph.
        image_size_hw: height and width of the input in pixels.
        max_batch: most pictures at once, where their number may vary.
    """
    batches = (1, max_batch, max_batch) if options.dynamic_batch else (1, 1, 1)
    sizes = (image_size_hw,) * 3
    if options.dynamic_size:
        half = tuple(max(_SMALLEST_SIDE, side // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE) for side in image_size_hw)
        sizes = (half, image_size_hw, tuple(2 * side for side in image_size_hw))
    ranges = {PIXELS: ShapeRange(*((batch, 3, *size) for batch, size in zip(batches, sizes, strict=True)))}
    if options.with_postprocess:
        ranges[SIZES] = ShapeRange(*((batch, 2) for batch in batches))
    return ranges


def trtexec_command(ranges: dict[str, ShapeRange], onnx_file: str, engine_file: str, workspace_mib: int | None) -> str:
    """The command line of NVIDIA's `trtexec` that builds the same engine from the ONNX file.

    Args:
        ranges: as of `shape_ranges`.
        onnx_file: as it is called there.
        engine_file: to write.
        workspace_mib: most memory that a layer may use on the GPU, in MiB; None for all there is.
    """
    # TensorRT 10 needs to be told that the types in the graph hold; 11 knows no other way, and takes the flag still.
    words = ["trtexec", f"--onnx={onnx_file}", f"--saveEngine={engine_file}", "--stronglyTyped", "--noTF32"]
    if any(shapes.varies for shapes in ranges.values()):
        for flag, kind in (("minShapes", "smallest"), ("optShapes", "tuned"), ("maxShapes", "largest")):
            inputs = (f"{name}:{'x'.join(map(str, getattr(shapes, kind)))}" for name, shapes in ranges.items())
            words.append(f"--{flag}={','.join(inputs)}")
    if workspace_mib is not None:
        words.append(f"--memPoolSize=workspace:{workspace_mib}")
    return shlex.join(words)
