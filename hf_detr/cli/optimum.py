"""`optimum-cli export detr` and, where optimum-onnx is not installed, `optimum-cli export onnx`.

Optimum finds the commands through ``optimum/commands/register/register_hf_detr.py`` in our wheel. It loads them at
every call of `optimum-cli`, so nothing heavy is imported here.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo

from hf_detr.cli.export import add_options, run
from hf_detr.cli.main import EXIT_USER_ERROR, set_up_logging
from hf_detr.errors import HfDetrError

_DESCRIPTION = """\
Export a D-FINE, DEIM, RT-DETR or DEIMv2 detector to ONNX, and compare it with the model in PyTorch.

  optimum-cli export {name} --model runs/first exported
  optimum-cli export {name} --model runs/first exported --images my_data/valid --with-postprocess
"""


class DetrExportCommand(BaseOptimumCLICommand):
    """What `hf-detr export` does, with the arguments of Optimum's exports."""

    COMMAND = CommandInfo(name="detr", help="Export a real-time DETR detector to ONNX.")

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.description = _DESCRIPTION.format(name=parser.prog.split()[-1])
        parser.add_argument("-m", "--model", required=True, help="folder that `hf-detr train` wrote, or a Hub id")
        parser.add_argument("--task", choices=["auto", "object-detection"], default="auto", help="object-detection")
        parser.add_argument("output", type=Path, help="the new folder")
        add_options(parser)

    def run(self) -> None:
        set_up_logging()
        try:
            run(self.parser, self.args, self.args.output)
        except HfDetrError as error:
            print(f"optimum-cli export {self.COMMAND.name}: {error}", file=sys.stderr)
            sys.exit(EXIT_USER_ERROR)


class OnnxExportCommand(DetrExportCommand):
    """The same under the name that guides and scripts use."""

    COMMAND = CommandInfo(name="onnx", help="Export a real-time DETR detector to ONNX (hf_detr; not optimum-onnx).")


def export_commands() -> list[type[BaseOptimumCLICommand]]:
    """The commands to register; two packages that register one name would break every call of `optimum-cli`."""
    try:
        version("optimum-onnx")
    except PackageNotFoundError:
        return [DetrExportCommand, OnnxExportCommand]
    return [DetrExportCommand]
