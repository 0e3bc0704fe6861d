"""How a page opens from disk in a browser: when something is seen, when it can be used, and whether it is quiet.

python -m benchmarks.opening results/leaderboard.html

It needs Chromium and the package ``playwright``.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from memdet.io_utils import write_text
from memdet.running.description import describe_machine

OBSERVE = """() => {
  window.shifts = []; window.longTasks = [];
  new PerformanceObserver((list) => list.getEntries().forEach((one) => window.shifts.push(one.value)))
    .observe({type: "layout-shift", buffered: true});
  new PerformanceObserver((list) => list.getEntries().forEach((one) => window.longTasks.push(one.duration)))
    .observe({type: "longtask", buffered: true});
}"""
FIGURES = """() => {
  const opened = performance.getEntriesByType("navigation")[0];
  const painted = performance.getEntriesByName("first-contentful-paint")[0];
  return {loaded: opened.loadEventEnd, painted: painted.startTime,
          shift: window.shifts.reduce((sum, one) => sum + one, 0),
          longest: Math.max(0, ...window.longTasks)};
}"""


@dataclass(frozen=True)
class Opening:
    """What opening a page once has shown; times in ms since the browser was told to go there.

    Attributes:
        painted: When the first text was drawn.
        loaded: When scripts had run and the load event had ended.
        longest: The longest stretch in which the page did not answer.
        shift: Cumulative layout shift; 0 is none.
        said: Messages on the console and errors.
        asked: Requests other than the page itself.
    """

    painted: float
    loaded: float
    longest: float
    shift: float
    said: int
    asked: int


def open_once(browser, address: str, width: int) -> Opening:
    """Open a page in a new context, without what an earlier one has kept, and wait until it is idle."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(f"({OBSERVE})()")
    page.goto(address, wait_until="load")
    page.wait_for_timeout(300)  # what moves late is counted too
    figures = page.evaluate(FIGURES)
    context.close()
    others = [url for url in asked if url != address and not url.startswith("data:")]
    return Opening(**figures, said=len(said), asked=len(others))


@click.command()
@click.argument("page", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--width", "widths", multiple=True, type=int, default=(1440, 390), show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Record of what was measured.")
def main(page: Path, rounds: int, widths: tuple[int, ...], out: Path | None) -> None:
    """Print the median over rounds of each figure of PAGE, by width of the window."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    record = {
        "page": page.name,
        "bytes": page.stat().st_size,
        "rounds": rounds,
        "machine": describe_machine("opening", "cpu"),
    }
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for width in widths:
            openings = [asdict(open_once(browser, page.resolve().as_uri(), width)) for _ in range(rounds)]
            record[f"width-{width}"] = openings
            middle = {name: statistics.median(one[name] for one in openings) for name in openings[0]}
            click.echo(
                f"{width:5d} px   painted {middle['painted']:5.0f} ms   loaded {middle['loaded']:5.0f} ms   "
                f"longest task {middle['longest']:4.0f} ms   shift {middle['shift']:.3f}   "
                f"messages {middle['said']:.0f}   requests {middle['asked']:.0f}"
            )
        browser.close()
    if out is not None:
        write_text(out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
