"""Make the picture of the page that docs/app.md shows: `python -m tests.app.screenshot MODEL PICTURE EXAMPLES`."""

import argparse
import io
from pathlib import Path

from PIL import Image

from hf_detr import Detector
from hf_detr.app.serve import running_app
from tests.app.browser import drop, open_browser, visit

TARGET = Path(__file__).parents[2] / "docs" / "images" / "app.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="such as that of `make demo`")
    parser.add_argument("picture", type=Path, help="what a visitor drops")
    parser.add_argument("examples", type=Path, help="folder of pictures, of which eight are offered")
    parser.add_argument("--title", default="Handwritten digits")
    parser.add_argument("--width", type=int, default=1160, help="of the window in pixels")
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()
    examples = sorted(args.examples.glob("*.jpg"))[:8]
    detector = Detector.from_pretrained(args.model, device="cpu")
    with running_app(detector, name=args.title, examples=examples) as app, open_browser() as browser:
        page = visit(browser, app.local_url, width=args.width)
        drop(page, args.picture)
        page.locator("#summary .total").wait_for()
        page.locator("#drawn img").wait_for()
        page.wait_for_timeout(1000)  # until what fades has faded
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    # 256 colours are enough for a page, and a fifth of the size.
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
