"""What tests of the doctor's report ask of it."""

from hf_detr.data.findings import Finding
from hf_detr.data.report import DatasetReport


def found(report: DatasetReport, check: str) -> Finding:
    """The one finding of this kind."""
    (finding,) = [finding for finding in report.findings if finding.check == check]
    return finding
