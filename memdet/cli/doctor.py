"""``memdet doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from memdet.cli import options


@click.command("doctor")
@options.offline("Open no socket: do not ask whether remote assets can be reached.")
@options.form(["table", "json"])
def command(offline: bool, form: str) -> int:
    """Say what works on this machine and which assets can be reached.

    Exit code 0 if all that memdet requires works, 1 if something does not; warnings are about what is optional.
    """
    from memdet.doctor import examine

    findings = []
    for finding in examine(offline=offline):
        findings.append(finding)
        if form == "table":
            click.echo(f"{finding.status:8} {finding.check}: {' '.join(finding.detail.split())}")
            if finding.mend:
                click.echo(f"{'':8}   mend: {finding.mend}")
    problems = sum(finding.status == "problem" for finding in findings)
    if form == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        warnings = sum(finding.status == "warning" for finding in findings)
        click.echo(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    return 1 if problems else 0
