"""The `hf-detr` command: a table of what it can do, and the one place where errors become messages."""

import importlib
import logging
import os
import sys

from hf_detr import __version__
from hf_detr.errors import HfDetrError, did_you_mean

# What each command does, and the module whose main(argv) does it. Only the chosen module is imported.
GROUPS = {
    "Your data": {
        "check": ("hf_detr.cli.check", "what is wrong with a data set, before an hour of training on it"),
        "data convert": ("hf_detr.cli.data_convert", "data sets to another format, other splits, classes and sizes"),
        "data preview": (
            "hf_detr.cli.data_preview",
            "what a model will be trained on: pictures of an epoch, augmented",
        ),
    },
    "Your model": {
        "train": ("hf_detr.cli.train", "train a detector from a recipe"),
        "evaluate": ("hf_detr.cli.evaluate", "the COCO numbers of a model, and a table per class"),
        "predict": ("hf_detr.cli.predict", "find objects in pictures and videos: drawn, and as data"),
        "convert": ("hf_detr.cli.convert", "an official checkpoint to a folder for Transformers, and back"),
        "export": ("hf_detr.cli.export", "a model for ONNX Runtime and others, compared with the original"),
        "benchmark": ("hf_detr.cli.benchmark", "latency and throughput of models on their runtimes, side by side"),
        "app": ("hf_detr.cli.app", "a page on which people try a model, here or as a Hugging Face Space"),
        "push": ("hf_detr.cli.push", "publish a trained model on the Hugging Face Hub"),
    },
    "Look up": {
        "info": ("hf_detr.cli.info", "families and sizes: parameters, GFLOPs, published AP and latency"),
        "recipe": ("hf_detr.cli.recipe", "list the recipes, or show one with the source of every value"),
        "env": ("hf_detr.cli.env", "versions and devices, for a bug report"),
    },
}
COMMANDS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
_VERB_WIDTH = max(map(len, COMMANDS)) + 2

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141


def main(argv: list[str] | None = None) -> int:
    """Run `hf-detr`. Returns the exit code: 2 for an error the user can fix, 130 for Ctrl-C."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # `hf-detr recipe list | head`: the reader has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_READER_GONE
    return code


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if argv[0] == "--version":
        print(f"hf_detr {__version__}")
        return 0
    family = {command: entry for command, entry in COMMANDS.items() if command.startswith(f"{argv[0]} ")}
    if family and (len(argv) == 1 or argv[1] in ("-h", "--help", "help")):
        print(family_help_text(argv[0], family))
        return 0
    words = 2 if family else 1
    verb, arguments = " ".join(argv[:words]), argv[words:]
    if verb not in COMMANDS:
        hint = did_you_mean(verb, COMMANDS)
        print(f"hf-detr: there is no command {verb!r}.{hint} `hf-detr --help` lists them.", file=sys.stderr)
        return EXIT_USER_ERROR
    set_up_logging()
    try:
        return importlib.import_module(COMMANDS[verb][0]).main(arguments)
    except HfDetrError as error:
        print(f"hf-detr {verb}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"hf-detr {verb}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def help_text() -> str:
    lines = ["usage: hf-detr COMMAND ...", "", "Real-time DETR detectors, from your pictures to a published model."]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *_summaries(commands)]
    lines += ["", "`hf-detr COMMAND --help` explains one of them. First steps:"]
    lines += ["  hf-detr check my_data", "  hf-detr train d_fine/s_finetune --data my_data --output_dir runs/first"]
    return "\n".join(lines)


def family_help_text(word: str, commands: dict[str, tuple[str, str]]) -> str:
    """The help of commands of two words with the same first one."""
    lines = [f"usage: hf-detr {word} COMMAND ...", "", *_summaries(commands)]
    return "\n".join([*lines, "", f"`hf-detr {word} COMMAND --help` explains one of them."])


def _summaries(commands: dict[str, tuple[str, str]]) -> list[str]:
    return [f"  {verb:<{_VERB_WIDTH}}{summary}" for verb, (_, summary) in commands.items()]


def set_up_logging() -> None:
    """Our messages with the time of day on stderr, once per machine; of other packages only warnings."""
    handler = _AboveTheBar()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("huggingface_hub").propagate = False  # it prints its messages itself, and would twice
    # where torchao is installed, as for ExecuTorch, Transformers imports it and torch warns of what it does
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    first_process = os.environ.get("LOCAL_RANK", "0") == "0"
    logging.getLogger("hf_detr").setLevel(logging.INFO if first_process else logging.WARNING)


class _AboveTheBar(logging.Handler):
    """Prints above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # the contract of logging.Handler: a failing message must not stop the run
            self.handleError(record)


if __name__ == "__main__":
    sys.exit(main())
