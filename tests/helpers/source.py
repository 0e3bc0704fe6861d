"""The source of the package, for tests that read it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules(*packages: str) -> dict[str, Path]:
    """Files of packages by the name of their module; weights are no source."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if "weights" not in relative.parts and path.name != "__main__.py":
                found[".".join(relative.with_suffix("").parts).removesuffix(".__init__")] = path
    return found
