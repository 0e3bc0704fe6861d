"""``memdet doctor``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.output import show_finding
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.doctor import Finding
    from memdet.models.load_options import LoadOptions


@click.command("doctor")
@click.option("--model", metavar="DIR_OR_HUB_ID", help="Look at this model instead of the machine.")
@options.loading
@options.device
@options.dtype
@options.offline("Open no socket: do not ask whether remote assets can be reached; a hub model must be cached.")
@options.form(["table", "json"])
def command(  # what the options say
    model: str | None, device: str, dtype: str, offline: bool, form: str, loading: LoadOptions
) -> int:
    """Say what works on this machine and which assets can be reached; or how a model is read.

    Of a model: its prediction type, first time, null branch and files, and the certificate, for which its own pipeline
    runs some steps beside it. Exit code 0 if all is well, 1 if something that memdet requires does not work, or if a
    model is not what it was read as; warnings are about what is optional.
    """
    if model is None and loading.chosen:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in loading.chosen)
        raise UserError(f"{names} goes with --model: name the model that is to be looked at")
    findings = []
    for finding in _findings(model, device, dtype, offline=offline, loading=loading):
        findings.append(finding)
        if form == "table":
            show_finding(f"{finding.status:8} ", finding.check, finding.detail, indent="")
            if finding.mend:
                click.echo(f"{'':8}   mend: {finding.mend}")
    problems = sum(finding.status == "problem" for finding in findings)
    if form == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        warnings = sum(finding.status == "warning" for finding in findings)
        click.echo(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    return 1 if problems else 0


def _findings(model: str | None, device: str, dtype: str, *, offline: bool, loading: LoadOptions) -> Iterator[Finding]:
    if model is None:
        from memdet.doctor import examine

        return examine(offline=offline)
    import torch

    from memdet.model_doctor import examine_model

    found = options.device_of(device)
    return examine_model(model, device=found, dtype=getattr(torch, dtype), options=loading, offline=offline)
