"""Names of tensors in two worlds, from one list of pairs that is read in both directions."""

import re
from collections.abc import Sequence
from functools import cache

# (original, ours) or (original, (ours, ours, ...)), the latter being equal chunks along the first axis. `*` stands for
# one dotted part of a name and `**` for one or more; both sides have the same ones in the same order.
Rule = tuple[str, str | tuple[str, ...]]


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(r"\*\*", "(.+)").replace(r"\*", r"([^.]+)")
    return re.compile(escaped)


def _rewrite(name: str, source: str, target: str) -> str | None:
    match = _regex(source).fullmatch(name)
    if match is None:
        return None
    parts = iter(match.groups())
    return re.sub(r"\*\*?", lambda _: next(parts), target)


class NameMap:
    """A list of rules, of which the first that fits a name decides."""

    def __init__(self, rules: Sequence[Rule]):
        self.rules = [(original, (ours,) if isinstance(ours, str) else ours) for original, ours in rules]

    def ours(self, original: str) -> tuple[str, ...] | None:
        """Our names of the chunks of an original tensor; None if no rule knows it."""
        for source, targets in self.rules:
            if _regex(source).fullmatch(original):
                return tuple(_rewrite(original, source, target) for target in targets)
        return None

    def original(self, ours: str) -> tuple[str, int, int] | None:
        """The original tensor that ours is a chunk of, which chunk, and of how many; None if no rule knows it."""
        for target, sources in self.rules:
            for chunk, source in enumerate(sources):
                if name := _rewrite(ours, source, target):
                    return name, chunk, len(sources)
        return None
