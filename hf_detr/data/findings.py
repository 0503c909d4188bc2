"""What the doctor finds: one value per trouble, the same whether a report lists it or an error refuses to go on."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One kind of trouble in one split, with every place where it occurs.

    Attributes:
        check: stable id, e.g. ``"box.outside"``; scripts may rely on it.
        severity: ``"error"``: training or its numbers would be wrong; ``"warning"``: probably not what is wanted;
            ``"info"``: good to know.
        message: what is wrong, one sentence without the places.
        file: the annotation file or folder it is about.
        split: ``"train"``, ``"valid"``, ``"test"`` or several of them.
        count: how many places.
        examples: the places, each with those of the keys image_id, file (the picture), annotation_id, labels (the
            file with its annotations), line, object (its number in that file) and value that apply.
        advice: what to do about it, or what happens if nothing is done.
    """

    check: str
    severity: Severity
    message: str
    file: str
    split: str
    count: int
    examples: tuple[dict[str, Any], ...]
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"examples": [dict(example) for example in self.examples]}


def counted(number: int, noun: str) -> str:
    """The number with its noun.

    >>> counted(1, "box"), counted(2, "box"), counted(1200, "category")
    ('1 box', '2 boxes', '1,200 categories')
    """
    if number == 1:
        return f"1 {noun}"
    plural = noun[:-1] + "ies" if noun.endswith("ry") else noun + ("es" if noun.endswith(("x", "s", "ch")) else "s")
    return f"{number:,} {plural}"


def shortlist(names: Iterable[str], most: int = 10) -> str:
    """The first of the names on one line, and how many more there are.

    >>> shortlist(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings that forbid to go on."""
    return [finding for finding in findings if finding.severity == "error"]


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then the rest; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _describe(example: dict[str, Any]) -> str:
    """One line for one place, e.g. ``image 7 (0007.jpg), annotation 12: [3, 4, 0, 9]``."""
    picture = [f"image {example['image_id']!r}"] if "image_id" in example else []
    if "file" in example:
        picture.append(f"({example['file']})" if picture else str(example["file"]))
    parts = [" ".join(picture)] if picture else []
    if "annotation_id" in example:
        parts.append(f"annotation {example['annotation_id']!r}")
    parts += [str(example["labels"])] if "labels" in example else []
    parts += [f"{noun} {example[noun]}" for noun in ("line", "object") if noun in example]
    place = ", ".join(parts)
    if "value" not in example:
        return place
    return f"{place}: {example['value']}" if place else str(example["value"])


def render_finding(finding: Finding, *, width: int = 100, max_examples: int = 3) -> str:
    """A finding as a paragraph: id and message, file, some places, advice."""

    def wrapped(text: str, first: str = "    ", rest: str = "    ") -> str:
        return textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)

    lines = [f"{finding.severity.upper():<7} {finding.check}  [{finding.split}]", wrapped(finding.message)]
    lines.append(f"    in {finding.file}")
    for example in finding.examples[:max_examples]:
        lines.append(textwrap.shorten(f"      {_describe(example)}".strip(), width - 6, placeholder=" …"))
        lines[-1] = "      " + lines[-1]
    hidden = finding.count - min(len(finding.examples), max_examples)
    if hidden > 0 and finding.examples:
        lines.append(f"      … and {hidden:,} more")
    lines.append(wrapped(finding.advice, "    -> ", "       "))
    return "\n".join(lines)


def render_findings(findings: Sequence[Finding], *, width: int = 100, max_examples: int = 3) -> str:
    """Findings as text, errors first, an empty line between two of them."""
    return "\n\n".join(
        render_finding(finding, width=width, max_examples=max_examples) for finding in by_severity(findings)
    )
