"""The page of a model under more requests than it takes: none that it accepts may be lost.

    python benchmarks/app_load.py runs/first --images my_data/valid
    python benchmarks/app_load.py runs/first --images my_data/valid --clients 100 --requests 5 --max_waiting 16

The page runs in a process of its own, as `hf-detr app` starts it. All clients begin at once, each with a picture of
its own, and send one request after the other: upload, wait, compare the answer with what the model finds in that
picture. A request is answered, refused because the queue is full (the client is told so at once), or lost: another
answer than that of its picture, an error, or none within a minute. Latency is from the upload to the answer.
"""

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file

from hf_detr import Detector
from hf_detr.cli.sources import find_pictures

THRESHOLD = 0.3
TIMEOUT_SECONDS = 60


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        answered: seconds of each that got the answer of its picture.
        refused: seconds of each that was told to come back.
        lost: what happened to each of the others.
        seconds: from the first request to the last answer.
    """

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """As text."""
        lines = [f"answered {len(self.answered):,}   refused {len(self.refused):,}   lost {len(self.lost):,}"]
        for name, times in (("answered", self.answered), ("refused", self.refused)):
            if times:
                p50, p90, p99 = (np.percentile(times, (50, 90, 99)) * 1000).round().astype(int)
                lines.append(f"{name}: p50 {p50:,} ms, p90 {p90:,} ms, p99 {p99:,} ms")
        lines.append(f"{len(self.answered) / self.seconds:.1f} answers a second")
        return lines + [f"lost: {reason}" for reason in self.lost[:10]]


def put_load(address: str, pictures: Sequence[Path], expected: Sequence[list[str]], requests: int) -> Outcome:
    """Let as many clients as there are pictures send requests at the same time.

    Args:
        address: of the page.
        pictures: one for each client.
        expected: class names of what the model finds in each, sorted.
        requests: of each client, one after the other.
    """
    with ThreadPoolExecutor(len(pictures)) as pool:
        clients = list(pool.map(lambda _: Client(address, verbose=False, analytics_enabled=False), pictures))
        outcome, together = Outcome(), threading.Barrier(len(pictures))

        def run(client: Client, picture: Path, names: list[str]) -> None:
            together.wait()
            for _ in range(requests):
                ask(client, picture, names, outcome)

        start = time.perf_counter()
        list(pool.map(run, clients, pictures, expected))
        outcome.seconds = time.perf_counter() - start
    return outcome


def ask(client: Client, picture: Path, names: list[str], outcome: Outcome) -> None:
    """One request."""
    start = time.perf_counter()
    try:
        job = client.submit(handle_file(str(picture)), THRESHOLD, [], None, api_name="/detect")
        answer = sorted(found["category_name"] for found in job.result(timeout=TIMEOUT_SECONDS))
    except Exception as error:
        told = str(error)
        if "queue is full" in told.lower():
            outcome.refused.append(time.perf_counter() - start)
        else:
            outcome.lost.append(f"{type(error).__name__}: {told}")
        return
    if answer == names:
        outcome.answered.append(time.perf_counter() - start)
    else:
        outcome.lost.append(f"{picture.name}: another answer, {answer} instead of {names}")


def start_page(model: str, max_waiting: int, log: Path) -> tuple[subprocess.Popen, str]:
    """`hf-detr app` in a process of its own, and the address that it tells in its log.

    Raises:
        SystemExit: it ends before it has told one.
    """
    command = [sys.executable, "-m", "hf_detr.cli.main", "app", model, "--max_waiting", str(max_waiting)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream)
    while process.poll() is None:
        told = re.search(r"http://\S+", log.read_text(encoding="utf-8"))
        if told:
            return process, told[0]
        time.sleep(0.2)
    raise SystemExit(f"the page did not start:\n{log.read_text(encoding='utf-8')}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder that `hf-detr train` or `hf-detr export` wrote")
    parser.add_argument("--images", nargs="+", required=True, metavar="PATH", help="pictures or folders of them")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=3, help="of each client")
    parser.add_argument("--max_waiting", type=int, default=16, help="places in the queue")
    args = parser.parse_args(argv)
    paths = find_pictures(args.images)
    pictures = [paths[k % len(paths)] for k in range(args.clients)]
    detector = Detector.from_pretrained(args.model)
    # One by one, as the page does it: in a batch the last bit of a score may differ.
    expected = {path: sorted(detector(path, threshold=THRESHOLD).labels) for path in dict.fromkeys(pictures)}
    with tempfile.TemporaryDirectory() as folder:
        page, address = start_page(args.model, args.max_waiting, Path(folder) / "log.txt")
        try:
            outcome = put_load(address, pictures, [expected[path] for path in pictures], args.requests)
        finally:
            page.send_signal(signal.SIGINT)
            page.wait()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "gradio", "gradio_client"))
    print(f"{args.clients} clients x {args.requests} requests, {args.max_waiting} places in the queue; "
          f"{platform.machine()}, {os.cpu_count()} CPUs; {packages}; {date.today()}\n")  # fmt: skip
    print("\n".join(outcome.lines()))
    return 1 if outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main())
