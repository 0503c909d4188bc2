"""What our messages say of other libraries' errors."""

import pytest

from hf_detr.errors import reason_of


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("no such file"), "no such file", "no such file"),
        (ValueError("\n  in a.cpp:12\nno such file\n\n"), "in a.cpp:12", "no such file"),
        (EOFError(), "EOFError", "EOFError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_a_reason_is_one_line_and_never_empty(error: Exception, first: str, last: str) -> None:
    assert reason_of(error) == first
    assert reason_of(error, line=-1) == last
