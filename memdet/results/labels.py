"""Labels of detectors, ``name@option=value,option=value``, taken apart and brought up to date."""

from __future__ import annotations

from collections.abc import Iterable

from memdet.detectors.registry import current_names


def split_option(label: str, option: str) -> tuple[str, str | None]:
    """A detector's label without one option, and that option's value; None where it is the default.

    Example:
        >>> split_option("jeon2025@t=200,power=1", "t"), split_option("wen2024", "t")
        (('jeon2025@power=1', '200'), ('wen2024', None))
    """
    name, _, tail = label.partition("@")
    options = [part for part in tail.split(",") if part]
    value = next((part.partition("=")[2] for part in options if part.startswith(f"{option}=")), None)
    kept = [part for part in options if not part.startswith(f"{option}=")]
    return name + ("@" + ",".join(kept) if kept else ""), value


def renamed_labels(labels: Iterable[str]) -> dict[str, str]:
    """Today's label of each detector that was renamed, by the label that an old run holds.

    The old names are those that detectors declare (:attr:`memdet.DetectorInfo.aliases`).

    Args:
        labels: Of a run.

    Example:
        >>> renamed_labels(["wen2024@steps=5"])
        {}
    """
    now = current_names()
    parts = {label: label.partition("@") for label in labels}
    return {label: now[name] + at + tail for label, (name, at, tail) in parts.items() if name in now}
