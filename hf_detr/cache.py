"""Where things are kept that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what can be made again: ``$HF_DETR_CACHE``, or hf_detr in the user's cache folder."""
    given = os.environ.get("HF_DETR_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_detr"
