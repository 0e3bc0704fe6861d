"""The site of the documents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import memdet
from tests.helpers.source import ROOT

DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-f",
        "docs/site/mkdocs.yml",
        "-d",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    assert (site / "leaderboard.html").read_bytes() == (ROOT / "results" / "leaderboard.html").read_bytes()
    assert 'src="leaderboard.html"' in (site / "index.html").read_text()
    commands = (site / "reference" / "command-line" / "index.html").read_text()
    assert all(f"memdet {name}" in commands for name in ("run", "report", "bench plan", "zoo build"))
    assert "https://arxiv.org/abs/2412.04140" in (site / "detectors" / "index.html").read_text()
    broken = [(page, link) for page in site.rglob("*.html") for link in _links(page, site) if not link.exists()]
    assert broken == []


def _links(page: Path, site: Path) -> list[Path]:
    """Files that a page of the site links to; 404.html is served for any address, so that its links are absolute."""
    if page.name in {"404.html", "leaderboard.html"}:
        return []
    links = re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8"))
    return [page.parent / link for link in links if not re.match(r"[a-z]+:|//|/", link)]


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference" / "api.md").read_text()
    named = {line.rsplit(".", 1)[-1] for line in page.splitlines() if line.startswith("::: ")}
    assert set(memdet.__all__) - named == {"__version__"}


@pytest.mark.parametrize(
    "file", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.relative_to(DOCS)}" for path in sorted(DOCS.rglob("*.md")))]
)
def test_links_of_documents_lead_to_files(file):
    path = ROOT / file
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [link.split("#")[0] for link in LINK.findall(text) if not re.match(r"https?:", link)]
    generated = {DOCS / "reference" / "papers.md"}
    missing = [link for link in targets if link and not (path.parent / link).exists()]
    assert [link for link in missing if (path.parent / link).resolve() not in generated] == []
