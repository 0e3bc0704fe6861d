"""The page of a run of mitigations in a browser: it fits a telephone, is legible in both schemes, and is inert."""

import pytest

from memdet.metrics import Interval
from memdet.mitigating.gated import Gated
from memdet.mitigating.page import to_html
from memdet.mitigating.text import Comparison
from tests.mitigation.test_measures import standard

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path):
    rows, run = standard()
    run.items.loc[1, "condition"] = "<img src=x onerror=\"document.title='owned'\">" + "x" * 2_000
    share = Interval(0.5, 0.4, 0.6)
    gated = [Gated("d" * 60, False, "ignores", dict.fromkeys(("memorized", "ordinary"), 0.1), share, {}, 12.0)]
    path = tmp_path / "mitigation.html"
    path.write_text(to_html(Comparison(run, list(rows.values()), gated, 0.05), {}, {}), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_inert(file, open_page, scheme):
    page = open_page(file, width=360, color_scheme=scheme)
    assert page.title() == "mine: mitigations"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("script, iframe, object, a[href]").count() == 0
    images = page.locator("img")
    assert images.count() == 4 * 16  # of four mitigations that generated, from sixteen captions
    assert images.evaluate_all("all => all.every(image => image.complete && image.naturalWidth > 0)")
    plot = page.locator("figure.scatter svg").bounding_box()
    assert plot["width"] <= 344
    inside = page.locator("figure.scatter text.name").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).every(box => box.left > 0 && box.right < 360)"
    )
    assert inside
