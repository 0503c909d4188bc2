"""What to do about a teacher that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hf_detr.errors import CheckpointError, reason_of

UNGATED = "timm/vit_small_patch16_dinov3.lvd1689m (or vit_base_, vit_large_) and timm/convnext_tiny.dinov3_lvd1689m"

_ALTERNATIVES = (
    "Or choose another teacher: a local folder, the authors' .pth file, or DINOv3 from timm, which asks for no form: "
    f"{UNGATED}."
)


def unreadable_teacher(name: str, revision: str, error: BaseException) -> CheckpointError:
    """The error to raise for a teacher that could not be loaded, with what to do about it."""
    causes = list(_causes(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return CheckpointError(
            f"the teacher {name} is on the Hub, but its licence must be accepted before it can be read:\n"
            f"  1. accept it at https://huggingface.co/{name}\n"
            "  2. sign in here: `hf auth login`, or a token of the same account in the variable HF_TOKEN\n"
            f"{_ALTERNATIVES}"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return CheckpointError(
            f"the teacher {name} has no branch, tag or commit {revision!r}; see its files on the Hub for those it has."
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return CheckpointError(
            f"there is no teacher {name} on the Hub, or it is private. Check the name; for a private one, sign in "
            f"with `hf auth login`.\n{_ALTERNATIVES}"
        )
    reason = reason_of(error)
    if Path(name).exists():
        return CheckpointError(
            f"cannot read the teacher {name}: {reason}\nThe folder may be half-copied: copy it again.\n{_ALTERNATIVES}"
        )
    return CheckpointError(
        f"cannot read the teacher {name}: {reason}\n"
        "Check its name and your network. Without a network, give a local folder, or download it once beforehand "
        f"(HF_HUB_OFFLINE=1 uses the copy).\n{_ALTERNATIVES}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
