"""Errors a user can act on. The command line prints their message and exits with code 2; anything else is a bug."""


class HfDetrError(Exception):
    """Base of every error whose message tells the user what is wrong, where, and what to do."""


class RecipeError(HfDetrError):
    """A recipe or a flag is wrong: unknown key, wrong type, values that cannot go together."""


class DatasetError(HfDetrError):
    """The data cannot be read or cannot be trained on."""


class CheckpointError(HfDetrError):
    """A model or a checkpoint cannot be found, read, or does not fit the data."""


class TrainingError(HfDetrError):
    """Training cannot start, or had to stop."""


class ExportError(HfDetrError):
    """A model cannot be exported, or the exported model does not compute the same."""
