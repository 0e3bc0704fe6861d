"""``memdet validate-detector``."""

from __future__ import annotations

import click

from memdet.cli.completion import detector_names, offered
from memdet.cli.output import doing, show_finding


@click.command("validate-detector")
@click.argument("name_or_file", metavar="NAME_OR_FILE", shell_complete=offered(detector_names))
def command(name_or_file: str) -> int:
    """Check that a detector keeps the contract; exit 1 if it does not, or if nothing of it could be checked.

    NAME_OR_FILE is a name, with options if wanted (wen2024@steps=5), or a Python file with detectors.
    """
    from memdet.detectors import detector_classes
    from memdet.running.aside import in_own_process
    from memdet.testing.check_detector import is_unchecked
    from memdet.testing.validated import validate_named
    from memdet.user_code import is_nobodys

    doing(f"trying {name_or_file} on small models")
    known = detector_classes().get(name_or_file.partition("@")[0])
    if known is not None and is_nobodys(known):
        found = validate_named(name_or_file)
    else:  # what ends its process is to end no check
        found = in_own_process(validate_named, name_or_file)
    broken = False
    for label, findings in found:
        click.echo(label)
        for finding in findings:
            show_finding(finding.status, finding.check, finding.detail)
        if is_unchecked(findings):
            click.echo("  nothing could be checked, so the contract is not known to hold")
        broken |= is_unchecked(findings) or any(finding.status == "failed" for finding in findings)
    return 1 if broken else 0
