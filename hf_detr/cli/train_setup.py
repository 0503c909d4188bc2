"""The parts of a training run, made from its recipe, and the trainer that has them all."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli.train_augmentation import build_collator, image_size_hw
from hf_detr.cli.train_data import load_datasets
from hf_detr.errors import CheckpointError, RecipeError, TrainingError

if TYPE_CHECKING:
    from hf_detr.data.splits import Split
    from hf_detr.distillation.teacher import Teacher
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments
    from hf_detr.training.trainer import DetrTrainer

# Settings of the run as a whole, which Transformers would act upon in the middle of it.
_HUB_FIELDS = ("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo")


def training_arguments(recipe: "Recipe") -> "tuple[DetrTrainingArguments, dict[str, Any]]":
    """The recipe's `train` section as arguments, and apart from it what concerns the Hub.

    Raises:
        RecipeError: values that cannot go together.
    """
    from hf_detr.training.arguments import DetrTrainingArguments

    values = dict(recipe.train)
    hub = {name: values.pop(name, None) for name in _HUB_FIELDS}
    if values.get("output_dir") is None:
        data = Path(recipe.data.data or recipe.data.train_images or "data")
        name = data.stem if data.is_file() else data.name
        values["output_dir"] = f"runs/{'-'.join(Path(recipe.name).parts[-2:])}-{name}"
    try:
        return DetrTrainingArguments(**values), hub
    except ValueError as error:
        raise RecipeError(str(error)) from error


def build_model(recipe: "Recipe", id2label: dict[int, str], checkpoint: Path | None):
    """The model to train and its processor: from the run's own checkpoint, from scratch, or from a pretrained one.

    Raises:
        RecipeError: neither a checkpoint nor `from_scratch`.
        CheckpointError: it cannot be loaded, or does not fit the data or the image size.
    """
    from hf_detr.models.loading import freeze_like_paper, load_detector, load_for_finetuning, load_from_scratch

    choice = recipe.model
    if checkpoint is not None:
        model, processor = load_detector(checkpoint)
        if model.config.id2label != id2label:
            raise TrainingError(
                f"{checkpoint} was trained on other classes than the data has now: "
                f"{list(model.config.id2label.values())} against {list(id2label.values())}. Resume with the same data."
            )
        if not choice.from_scratch:
            freeze_like_paper(model)
        return model, processor
    if choice.from_scratch:
        return load_from_scratch(
            choice.family,
            choice.size,
            id2label=id2label,
            image_size_hw=image_size_hw(recipe),
            config_overrides=choice.config_overrides,
            num_queries=choice.num_queries,
        )
    if choice.model_name_or_path is None:
        raise RecipeError(
            "What shall be trained? Give a recipe (`hf-detr recipe list`), --model_name_or_path with a Hub id or "
            "folder, or --from_scratch with --family and --size."
        )
    return load_for_finetuning(
        choice.model_name_or_path,
        id2label=id2label,
        image_size_hw=image_size_hw(recipe),
        class_map=choice.class_map,
        num_queries=choice.num_queries,
        config_overrides=choice.config_overrides,
        revision=choice.revision,
    )


def load_run_teacher(recipe: "Recipe") -> "Teacher | None":
    """The teacher of a recipe; None where it has none, or one whose term would always have the weight 0.

    Raises:
        CheckpointError: it cannot be loaded, or gives no features that a student can be compared with.
    """
    from hf_detr.distillation.teacher import load_teacher

    distill = recipe.distill
    if distill.teacher is None or not distill.ever_weighs:
        return None
    try:
        return load_teacher(
            distill.teacher,
            revision=distill.teacher_revision,
            dtype=distill.teacher_dtype,
            compile=distill.teacher_compile,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{error}\nTo train without a teacher: --teacher none") from error


def build_trainer(
    recipe: "Recipe", args: "DetrTrainingArguments", splits: "dict[str, Split]", checkpoint: Path | None = None
) -> "DetrTrainer":
    """The trainer of a run, with its data, model and teacher; ``checkpoint`` is the one that the run goes on from.

    Raises:
        HfDetrError: as `load_datasets`, `load_run_teacher` and `build_model`.
    """
    from transformers import set_seed

    from hf_detr.training.trainer import DetrTrainer

    train_set, valid_set = load_datasets(splits, recipe, args)
    teacher = load_run_teacher(recipe)
    set_seed(args.seed)
    model, processor = build_model(recipe, train_set.id2label, checkpoint)
    return DetrTrainer(
        model,
        args,
        processing_class=processor,
        train_dataset=train_set,
        eval_dataset=valid_set,
        data_collator=build_collator(recipe, args, train_set.epoch_length),
        teacher=teacher,
        distillation=recipe.distill,
    )
