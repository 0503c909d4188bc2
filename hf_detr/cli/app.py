"""`hf-detr app`: a page on which people try a model, and the folder of a Hugging Face Space for it."""

import argparse
from pathlib import Path

from hf_detr.app.limits import AppLimits
from hf_detr.cli.flags import add_dense_options, add_model_options, parse_image_size, require_positive
from hf_detr.errors import AppError

MAX_EXAMPLES = 24

_DESCRIPTION = """\
A page on which people try a model: drop a picture or a video, move the threshold, pick classes, see
boxes, table and JSON. Programs call the same address.

  hf-detr app runs/first --examples my_data/valid
  hf-detr app runs/first/openvino --port 8000 --host 0.0.0.0
  hf-detr app runs/first --space my_space          # a folder for a Hugging Face Space

The page is for this computer alone (127.0.0.1) until you say --host or --share. It loads nothing from elsewhere
and reports nothing to anybody.
"""


def build_parser() -> argparse.ArgumentParser:
    limits = AppLimits()
    parser = argparse.ArgumentParser(
        prog="hf-detr app", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder that `hf-detr train` or `hf-detr export` wrote, or a Hub id")
    parser.add_argument("--title", help="of the page; default: the name of the model")
    parser.add_argument(
        "--examples",
        nargs="+",
        default=[],
        metavar="PATH",
        help=f"pictures, folders of pictures, and videos to click on; of many, {MAX_EXAMPLES} evenly spread",
    )
    parser.add_argument("--threshold", type=float, help="where the slider stands at first; default: as predict")
    parser.add_argument(
        "--space", type=Path, metavar="DIR", help="serve nothing, but write a Hugging Face Space there"
    )
    address = parser.add_argument_group("address")
    address.add_argument("--host", help="0.0.0.0 to be reached from other computers; default: 127.0.0.1")
    address.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    address.add_argument("--share", action="store_true", help="a public link through Gradio's tunnel, for a week")
    allowed = parser.add_argument_group("limits")
    allowed.add_argument(
        "--max_upload_mb", type=float, default=limits.max_upload_mb, metavar="MB", help="default: %(default)s"
    )
    allowed.add_argument(
        "--max_megapixels", type=float, default=limits.max_megapixels, metavar="N", help="default: %(default)s"
    )
    allowed.add_argument(
        "--max_video_seconds", type=float, default=limits.max_video_seconds, metavar="S", help="default: %(default)s"
    )
    allowed.add_argument(
        "--max_waiting",
        type=int,
        default=limits.max_waiting,
        metavar="N",
        help="requests that may wait for the model; further ones are refused. Default: %(default)s",
    )
    allowed.add_argument(
        "--keep_minutes",
        type=float,
        default=limits.keep_minutes,
        metavar="MIN",
        help="until uploads and results are deleted; default: %(default)s",
    )
    add_dense_options(add_model_options(parser))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve the page until Ctrl-C, or write the Space.

    Raises:
        HfDetrError: no such model or examples, an address that cannot be used, a folder that is not empty.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(parser, batch_size=args.batch_size, num_queries=args.num_queries)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold must be from 0 to 1, got {args.threshold}")
    limits = AppLimits(
        max_upload_mb=args.max_upload_mb,
        max_megapixels=args.max_megapixels,
        max_video_seconds=args.max_video_seconds,
        max_waiting=args.max_waiting,
        keep_minutes=args.keep_minutes,
    )
    image_size_hw = parse_image_size(parser, args.image_size)
    if args.space and (args.host or args.port or args.share):
        parser.error("--host, --port and --share are for a page that is served; a Space has its own address")

    from hf_detr.app.serve import require_gradio, serve
    from hf_detr.inference.detector import Detector

    require_gradio()
    examples = find_examples(args.examples)
    page = {
        "name": args.title or name_of(args.model),
        "threshold": args.threshold,
        "examples": examples[:: max(1, len(examples) // MAX_EXAMPLES)][:MAX_EXAMPLES],
    }
    loading = {
        "image_size_hw": image_size_hw,
        "revision": args.revision,
        "tile": args.tile,
        "tile_overlap": args.tile_overlap,
        "num_queries": args.num_queries,
    }
    detector = Detector.from_pretrained(args.model, device=args.device, **loading)
    if args.space is None:
        serve(
            detector,
            limits,
            host=args.host,
            port=args.port,
            share=args.share,
            batch_size=args.batch_size,
            **page,
        )
        return 0

    from hf_detr.app.space import write_space

    defaults = {key: parser.get_default(key) for key in loading if key != "image_size_hw"} | {"image_size_hw": None}
    chosen = {key: value for key, value in loading.items() if value != defaults[key]}
    for file in write_space(args.model, args.space, limits=limits, loading=chosen, **page):
        print(file)
    return 0


def name_of(model: str) -> str:
    """What the page is called: the last part of folder or id, and for an exported model the folder above it too.

    >>> name_of("runs/first"), name_of("user/detector")
    ('first', 'detector')
    """
    from hf_detr.inference.exported import find_exported

    exported = find_exported(model)
    if exported is None:
        return Path(model).resolve().name
    folder = exported.resolve().parent
    return f"{folder.parent.name} · {folder.name}"


def find_examples(sources: list[str]) -> list[Path]:
    """Files for visitors to click on.

    Raises:
        HfDetrError: a source does not exist, holds no pictures and videos, or is no file.
    """
    from hf_detr.cli.sources import find_sources

    found = find_sources(sources)
    for example in [*found.pictures, *found.videos]:
        if not isinstance(example, Path):
            raise AppError(f"--examples takes files and folders, not {example}.")
    return [*found.pictures, *found.videos]
