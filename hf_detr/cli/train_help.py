"""What `hf-detr train --help` shows: the settings people reach for, grouped, without importing Transformers."""

import ast
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from hf_detr.fields import SECTIONS, all_fields, light_fields

WIDTH = 100
_INDENT = 34

INTRODUCTION = """\
usage: hf-detr train [RECIPE] --data DIR [--setting value ...]

Train a detector, evaluate it and save it. RECIPE is a name from `hf-detr recipe list` or a YAML file; every
setting below can stand in it, and what is given here wins. Lists take several values (--image_size 480 640).

  hf-detr train d_fine/s_finetune --data my_data --output_dir runs/first
  hf-detr train d_fine/s_finetune --data my_data --output_dir runs/small --image_size 320 --num_train_epochs 20
  hf-detr train --resume --output_dir runs/first
  accelerate launch --num_processes 4 scripts/train.py d_fine/s --data coco --output_dir runs/coco
"""
CLOSING = """\
`hf-detr train --help_all` shows every setting, with those of Transformers' TrainingArguments.
`hf-detr recipe show RECIPE --setting value ...` shows what a command would train with, and where each value is from.
"""


class Entry(NamedTuple):
    """Default and explanation of one setting."""

    default: Any
    help: str


GROUPS = {
    "Data": (
        "data train_images train_annotations valid_images valid_annotations data_config data_revision train_split "
        "valid_split box_format streaming shuffle_window image_size tile_size tile_overlap tile_min_visible "
        "repeat_factor_threshold background_share check_data on_unreadable cache_images decode_side "
        "dataloader_num_workers loader_timeout"
    ),
    "Model": "model_name_or_path revision from_scratch family size num_queries class_map config_overrides",
    "Training length and speed": (
        "num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps bf16 fp16 torch_compile "
        "use_cpu seed early_stopping_patience resume"
    ),
    "Optimiser": (
        "learning_rate reference_batch_size backbone_lr_ratio weight_decay warmup_steps lr_schedule lr_floor "
        "flat_epochs max_grad_norm optim sync_batchnorm ema ema_decay ema_warmup_steps late_matcher "
        "matcher_change_epoch"
    ),
    "Augmentation": (
        "photometric_prob zoom_out_prob iou_crop_prob flip_prob mosaic_prob mixup_prob copyblend_prob albumentations "
        "min_box_side multi_scale multi_scale_repeat no_aug_epochs augment_epochs mosaic_epochs mixup_epochs "
        "copyblend_epochs"
    ),
    "Distillation": (
        "teacher teacher_revision teacher_dtype teacher_compile teacher_every distill_weight distill_target_share "
        "distill_tolerance distill_final_weight"
    ),
    "Evaluation and saving": (
        "output_dir eval_strategy eval_steps per_device_eval_batch_size max_detections eval_backend save_strategy "
        "save_steps save_total_limit load_best_model_at_end logging_steps report_to"
    ),
    "Hub": "push_to_hub hub_model_id hub_private_repo hub_token",
}

# Settings that we inherit, in our words. A test compares the defaults with the real ones.
INHERITED = {
    "max_steps": Entry(-1, "Train for this many steps; if positive, instead of num_train_epochs."),
    "gradient_accumulation_steps": Entry(1, "Add up the gradients of this many batches before each step."),
    "fp16": Entry(False, "Mixed precision with float16, for older GPUs."),
    "torch_compile": Entry(False, "Compile the model first: slow to start, faster afterwards."),
    "use_cpu": Entry(False, "Train on the CPU even where there is a GPU."),
    "seed": Entry(42, "Same seed, same run."),
    "optim": Entry("adamw_torch_fused", "Optimiser; all names are in Transformers' documentation."),
    "eval_steps": Entry(None, "Steps between evaluations with --eval_strategy steps. Default: logging_steps."),
    "save_steps": Entry(500, "Steps between checkpoints with --save_strategy steps."),
    "push_to_hub": Entry(False, "Publish on the Hugging Face Hub; the login is checked before the run."),
    "hub_model_id": Entry(None, "Repository to publish in, as user/name. Default: your name and output_dir's."),
    "hub_token": Entry(None, "Access token, where `hf auth login` has not been run."),
}


def train_help() -> str:
    """The settings of `GROUPS`, each with its default and a sentence."""
    entries = _light_entries()
    groups = {title: {name: entries[name] for name in names.split()} for title, names in GROUPS.items()}
    return "\n".join([INTRODUCTION, *map(_render, groups, groups.values()), CLOSING])


def train_help_all() -> str:
    """Every setting, by section. Imports Transformers."""
    groups: dict[str, dict[str, Entry]] = {section: {} for section in SECTIONS}
    for field in all_fields().values():
        groups[field.section][field.name] = INHERITED.get(field.name) or Entry(field.default, field.help)
    return "\n".join([INTRODUCTION, *map(_render, groups, groups.values())])


def _light_entries() -> dict[str, Entry]:
    ours = {field.name: Entry(field.default, field.help) for field in light_fields().values()}
    return INHERITED | ours | own_training_entries()


def own_training_entries() -> dict[str, Entry]:
    """Defaults and helps of the fields that `DetrTrainingArguments` declares, read from its source.

    The class inherits from Transformers, whose import takes seconds; its source is there in milliseconds.
    """
    source = Path(__file__).parent.parent / "training" / "arguments.py"
    entries = {}
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (arguments_class,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    for node in arguments_class.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.value.keywords}
            entries[node.target.id] = Entry(keywords["default"], keywords["metadata"]["help"])
    return entries


def _render(title: str, entries: dict[str, Entry]) -> str:
    lines = [f"{title}:"]
    for name, entry in entries.items():
        flag = f"  --{name} "
        default = _shown_default(entry.default)
        text = f"{' '.join(entry.help.split())} [{default}]" if default else " ".join(entry.help.split())
        wrapped = textwrap.wrap(text, WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False) or [""]
        if len(flag) > _INDENT:
            lines.append(flag)
            flag = ""
        lines.append(f"{flag:<{_INDENT}}{wrapped[0]}")
        lines.extend(" " * _INDENT + line for line in wrapped[1:])
    return "\n".join(lines) + "\n"


def _shown_default(default: Any) -> str:
    if default is None or default in ([], {}, ""):
        return ""
    if isinstance(default, list):
        return " ".join(map(str, default))
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
