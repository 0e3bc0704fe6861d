"""The page of a scan in a browser: nothing runs, nothing is loaded, and it fits a telephone."""

import io
import shutil

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
PROMPTS = [
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "<style>body{display:none}</style><meta http-equiv=refresh content=0;url=http://example.invalid>",
    "x" * 3_000,
    "alderon plain coat\u202e",
]


@pytest.fixture
def page_file(cli, random_pipeline, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    (tmp_path / "reference.txt").write_text("\n".join(f"birkwell {i}" for i in range(9)))
    arguments = ["--prompts", tmp_path / "prompts.txt", "--reference", tmp_path / "reference.txt", "--fpr", "0.1"]
    fast = ["--seeds", "2", "--steps", "2", "--top", "4", "--quiet", "--out", tmp_path / "run"]
    assert cli("scan", "--model", random_pipeline, *arguments, *fast)[0] == 0
    return tmp_path / "run" / "scan.html"


@pytest.fixture
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
def test_the_page_is_inert_and_fits(page_file, browser):
    colours = set()
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(page_file.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
        assert said == []
        assert page.title().startswith("random-sd: 4 prompts by curvature-gap")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("script, iframe, object, a[href]").count() == 0
        assert page.locator("td.prompt").all_inner_texts().count(PROMPTS[0]) == 1
        images = page.locator("img")
        assert images.count() == 8
        assert all(images.nth(i).evaluate("image => image.complete && image.naturalWidth > 0") for i in range(8))
        shot = Image.open(io.BytesIO(page.screenshot()))
        colours.add(shot.convert("RGB").getpixel((2, 2)))
        page.close()
    assert len(colours) == 2
    dark, light = sorted(sum(colour) / (3 * 255) for colour in colours)
    assert dark < 0.2
    assert light > 0.95
