"""Where `optimum-cli` finds the exports of hf_detr; installed as ``optimum/commands/register/register_hf_detr.py``.

Optimum is a namespace package, to which other packages add files: no ``__init__.py`` may lie beside this one.
"""

from optimum.commands.export.base import ExportCommand

from hf_detr.cli.optimum import export_commands

REGISTER_COMMANDS = [(command, ExportCommand) for command in export_commands()]
