"""What COCO says of classes and of all pictures, in a file beside the rows of a Hugging Face data set.

``coco_info.json``: ``{"categories": [{"id": 3, "name": "cat", ...}, ...], "splits": {"train": {"info": ...}, ...}}``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_detr.data.table import Id, is_id
from hf_detr.errors import reason_of

logger = logging.getLogger(__name__)

INFO_FILE = "coco_info.json"


@dataclass(frozen=True)
class HubInfo:
    """What is in the file; nothing where there is none.

    Attributes:
        categories: records with ``id`` and ``name``.
        headers: by split (train, valid, test), what is said of all its pictures.
    """

    categories: Sequence[dict[str, Any]] = ()
    headers: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def categories_of(self, names: Sequence[str]) -> Sequence[dict[str, Any]]:
        """The records, if they are those of the classes with these names; else none."""
        return self.categories if set(names) == {record["name"] for record in self.categories} else ()


def read_info(path: Path) -> HubInfo:
    """What is in the file; nothing where there is none, or one of something else, which is logged."""
    if not path.is_file():
        return HubInfo()
    try:
        content = json.loads(path.read_bytes())
        categories, headers = content["categories"], content["splits"]
        ids: list[Id] = [record["id"] for record in categories]
        names = [record["name"] for record in categories]
        is_whole = all(map(is_id, ids)) and len(set(map(type, ids))) <= 1 and len(set(ids)) == len(ids)
        if not is_whole or len(set(names)) < len(names) or not all(isinstance(one, dict) for one in headers.values()):
            raise ValueError("ids or names that are no such, or come twice")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is not read: it does not hold what COCO says of classes (%s)", path, error)
        return HubInfo()
    return HubInfo(categories, headers)


def find_on_hub(name: str, revision: str | None = None, *, only_copies: bool = False) -> Path | None:
    """Where the file of a data set on the Hub is on this disk; None if it has none, or cannot be asked.

    Args:
        name: ``USER/NAME``.
        revision: branch, tag or commit.
        only_copies: look at what has been downloaded before, and ask nobody.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        path = hf_hub_download(name, INFO_FILE, repo_type="dataset", revision=revision, local_files_only=only_copies)
    except RemoteEntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        reason = reason_of(error)
        logger.info("%s: ids of classes are their places, for there is no %s to be had: %s", name, INFO_FILE, reason)
        return None
    return Path(path)
