"""``memdet validate-detector``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli.completion import detector_names, offered
from memdet.cli.output import doing, show_finding
from memdet.errors import UserError


@click.command("validate-detector")
@click.argument("name_or_file", metavar="NAME_OR_FILE", shell_complete=offered(detector_names))
def command(name_or_file: str) -> int:
    """Check that a detector keeps the contract; exit 1 if it does not, or if nothing of it could be checked.

    NAME_OR_FILE is a name, with options if wanted (wen2024@steps=5), or a Python file with detectors.
    """
    from memdet.detectors import detector_classes, make_detector
    from memdet.testing.check_detector import is_unchecked, validate

    if name_or_file.endswith(".py"):
        path = Path(name_or_file).expanduser()
        classes = detector_classes((path,))
        names = [name for name in classes if name not in detector_classes()]
        if not names:
            raise UserError(f"{path} defines no detector that memdet does not have")
    else:
        classes, names = detector_classes(), [name_or_file]
    broken = False
    for name in names:
        detector = make_detector(name, classes)
        click.echo(detector.label)
        doing(f"trying {detector.label} on small models")
        findings = validate(detector)
        for finding in findings:
            show_finding(finding.status, finding.check, finding.detail)
        if is_unchecked(findings):
            click.echo("  nothing could be checked, so the contract is not known to hold")
        broken |= is_unchecked(findings) or any(finding.status == "failed" for finding in findings)
    return 1 if broken else 0
