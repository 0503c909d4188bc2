"""Errors a user can act on. The command line prints their message and exits with code 2; anything else is a bug."""

import difflib
from collections.abc import Iterable


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


class HubError(HfDetrError):
    """The Hugging Face Hub cannot be reached, or does not let us publish."""


class ExportError(HfDetrError):
    """A model cannot be exported, or the exported model does not compute the same."""


class AppError(HfDetrError):
    """The page of a model cannot be served, or cannot take what was given to it."""


def reason_of(error: BaseException, line: int = 0) -> str:
    """One line of what another library's error says; the error's kind where it says nothing.

    Args:
        error: of any library.
        line: which of its lines, counted as in a list.

    >>> reason_of(ValueError("no such file\\nTraceback: ..."))
    'no such file'
    """
    said = str(error).strip().splitlines()
    return said[line].strip() if said else type(error).__name__


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option spelled most like `word`, or None where none comes near."""
    matches = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """` Did you mean 'train'?`, the end of a message; nothing where no option comes near.

    >>> did_you_mean("trian", ["train", "predict"])
    " Did you mean 'train'?"
    """
    option = nearest(word, options)
    return f" Did you mean {option!r}?" if option else ""
