"""What other packages print and warn of, kept for the log."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

logger = logging.getLogger(__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters and readers of their files print for the log: it does not concern a user."""
    printed = io.StringIO()
    disabled_below = logging.root.manager.disable
    with redirect_stdout(printed), warnings.catch_warnings(record=True) as warned:
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled_below)
    for line in [*printed.getvalue().splitlines(), *(str(warning.message) for warning in warned)]:
        logger.debug("%s", line)
