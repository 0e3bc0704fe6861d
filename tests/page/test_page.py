"""The page in a browser: what it says is what the table says, and nothing that it shows can run or fetch."""

import base64
import hashlib
import io
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memdet.metrics import evaluate_rates, evaluate_table
from memdet.page import to_html
from memdet.page.payload import payload_of
from memdet.page.render import PICTURE_BYTES, render
from memdet.results import Run
from memdet.results.images import FILE, key_of
from memdet.results.schema import IMAGES
from memdet.samplesets import load_spec
from memdet.tables import report_rows
from memdet.tables.numbers import interval, number
from tests.helpers.pages import EVIL, HOSTILE, SCRIPT, STRATA, tied_with_the_best, write_run, write_sets

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {"auroc": "AUROC", "tpr_at_1_fpr": "TPR at 1\u00a0% FPR", "gain_over_control": "Gain over control"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def rows(run):
    return report_rows([run])


@pytest.fixture(scope="module")
def html(run):
    return to_html([run])


@pytest.fixture(scope="module")
def file(html, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def visit(open_page, file):
    """Open the page of the run, or another one."""

    def call(path=file, width=1280, **options):
        return open_page(path, width, **options)

    return call


def names_of(page):
    return page.locator("#table tbody tr").evaluate_all("rows => rows.map(row => row.dataset.detector)")


def cells_of(page, column):
    index = page.locator("#table thead th").all_inner_texts().index(column)
    cells = page.locator(f"#table tbody tr > :nth-child({index + 1})").all_inner_texts()
    return dict(zip(names_of(page), [" ".join(cell.split()) for cell in cells], strict=True))


def of_set(rows, name, *, ok=True):
    return {row["detector"]: row for row in rows if row["sample_set"] == name and (row["status"] == "ok") is ok}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["large", "small & </script>"])
def test_the_table_is_that_of_the_report(visit, rows, name):
    page = visit()
    page.select_option("#set", label=name)
    expected = of_set(rows, name)
    assert set(names_of(page)) == set(expected)
    for key, column in COLUMNS.items():
        found = cells_of(page, column)
        for label, row in expected.items():
            missing = "not resolvable" if key == "tpr_at_1_fpr" else "-"
            shown = missing if row[key] is None else interval(row, key, sign=key == "gain_over_control")
            assert found[label] == shown, (label, key)
    assert cells_of(page, "Rank corr.") == {label: number(row["rank_correlation"]) for label, row in expected.items()}
    evaluations = {label: text.split()[0] for label, text in cells_of(page, "Evaluations").items()}
    assert evaluations["jeon2025"] == "8"  # 2 F + 2 JVP under each of two seeds
    assert page.locator("#absent li").all_text_contents() == [
        f"pia \u2013 not-applicable: the items are no images {SCRIPT}."
    ]


@pytest.mark.slow
def test_sorting_by_mouse_and_keyboard(visit, rows):
    page = visit()
    by = of_set(rows, "large")

    def best(key, down):
        return sorted(by, key=lambda label: (-by[label][key] if down else by[label][key], label))

    assert names_of(page) == best("auroc", down=True)
    page.click("#column-auroc button")
    assert names_of(page) == best("auroc", down=False)
    assert page.get_attribute("#column-auroc", "aria-sort") == "ascending"
    page.focus("#column-tpr_at_1_fpr button")
    page.keyboard.press("Enter")
    assert names_of(page) == best("tpr_at_1_fpr", down=True)
    assert page.get_attribute("#column-tpr_at_1_fpr", "aria-sort") == "descending"
    assert page.get_attribute("#column-auroc", "aria-sort") is None
    assert page.evaluate("document.activeElement.textContent").startswith("TPR")


@pytest.mark.slow
def test_filters(visit):
    page = visit()
    page.fill("#filter-text", "difference @steps")
    assert names_of(page) == ["wen2024@steps=50"]
    assert page.inner_text("#filter-count") == "1 of 6 detectors"
    page.fill("#filter-text", "")
    page.select_option("#filter-access", "gradient")
    assert names_of(page) == ["jeon2025"]
    page.select_option("#filter-access", "")
    page.fill("#filter-cost", "8")
    assert "wen2024@steps=50" not in names_of(page)
    assert "jeon2025" in names_of(page)
    page.uncheck("#filter-controls")
    assert "random" not in names_of(page)


@pytest.mark.slow
def test_the_answer_is_the_best_within_the_budget(visit, rows):
    page = visit()
    large = of_set(rows, "large")
    verdict = page.inner_text("#verdict")
    assert "Use jeon2025" in verdict
    tpr = [large["jeon2025"][f"tpr_at_1_fpr{end}"] for end in ("", "_low", "_high")]
    assert "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * value for value in tpr)) in verdict
    page.fill("#ask-budget", "5")  # 2 F under each of two seeds
    assert "Use wen2024:" in page.inner_text("#verdict")
    page.fill("#ask-budget", "")
    assert "Use wen2024@steps=50" in page.inner_text("#verdict")
    page.check("#ask-access input[value=training-data]")
    assert "copy-similarity" in page.inner_text("#answers tbody tr:first-child")
    page.fill("#ask-budget", "0")
    assert "Use" not in page.inner_text("#verdict")


@pytest.mark.slow
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("rate", [1, 5, 10])
def test_without_a_budget_the_answer_names_the_first_group(visit, file, rate, committed):
    page = visit(ROOT / "results" / "leaderboard.html" if committed else file)
    page.fill("#ask-budget", "")
    page.select_option("#ask-rate", label=f"{rate}\u00a0%")
    for box in page.locator("#ask-access input").all():
        box.check()
    data = json.loads(page.text_content("#data"))
    answers = page.locator("#answers tbody tr")
    by_auroc = 0
    for index, described in enumerate(data["sets"]):
        cells = answers.nth(index).locator("td")
        names = [*cells.first.locator(".name").all_text_contents(), *cells.last.locator(".name").all_text_contents()]
        rows = [dict(zip(data["fields"], row, strict=True)) for row in described["rows"]]
        usable = [row for row in rows if row["status"] == "ok"]
        measure = 0 if "not resolvable" in cells.nth(1).inner_text() else 1 + data["rates"].index(rate / 100)
        expected = tied_with_the_best(described, measure, data["fields"], controls=False)
        if measure:  # who finds nothing is not named beside one that does
            expected = {label for label in expected if described["tpr"][label][measure - 1][0] > 0}
        if measure == 0:
            first = [row for row in usable if row["tie_group"] == 1]
            best = max((row for row in usable if row.get("ranked", True)), key=lambda row: row["auroc"])
            if best["access"] not in {"none", "text"}:
                by_auroc += 1
                assert expected == {row["detector"] for row in first if row["access"] not in {"none", "text"}}
        assert sorted(", ".join(names).split(", ")) == sorted(expected), described["id"]
    assert by_auroc or rate > 1


SETS = ("a", "b", "c", "d", "unsolved")


@pytest.fixture(scope="module")
def random_file(tmp_path_factory):
    """Detectors of random cost and power on several sets, some of which they do not apply to."""
    rng = np.random.default_rng(11)
    detectors = {"chance": ("none", 0.0, dict.fromkeys(SETS, 0.0))}
    for index in range(14):
        shifts = {name: None if rng.random() < 0.15 else float(rng.exponential(1.2)) for name in SETS}
        access = str(rng.choice(["score", "gradient", "samples"]))
        detectors[f"d{index}"] = (access, float(np.round(rng.exponential(30), 2)), shifts | {"unsolved": -1.0})
    folder = tmp_path_factory.mktemp("random")
    run = write_sets(folder / "run", SETS, detectors)
    (folder / "page.html").write_text(to_html([run]), encoding="utf-8")
    return folder / "page.html"


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [(), ("gradient",), ("score", "samples")])
def test_more_budget_never_finds_less(visit, random_file, left_out):
    page = visit(random_file)
    for access in left_out:
        page.uncheck(f"#ask-access input[value={access}]")
    for rate in ("1\u00a0%", "10\u00a0%"):
        page.select_option("#ask-rate", label=rate)
        found, sets = [], set()
        for budget in (*range(0, 20), *range(20, 200, 9), ""):
            page.fill("#ask-budget", str(budget))
            data = page.locator("#verdict").evaluate("element => ({...element.dataset})")
            found.append(float(data["mean"]))
            sets.add(data["sets"])
        assert found == sorted(found)
        assert len(set(found)) > 1
        assert sets == {"a b c d"}  # nothing solves the last, and no budget changes the list


FAILING = {  # label: access, forwards, and by set how far it separates
    "chance": ("none", 0.0, {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}),
    "broad": ("score", 2.01, {"a": 5.0, "b": 5.0, "c": -1.0, "d": None}),
    "narrow": ("score", 50.0, {"a": -1.0, "b": -1.0, "c": 6.0, "d": 3.0}),
}


@pytest.fixture(scope="module")
def failing_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failing")
    run = write_sets(folder / "run", "abcd", FAILING)
    (folder / "page.html").write_text(to_html([run]), encoding="utf-8")
    return folder / "page.html"


@pytest.mark.slow
def test_the_verdict_names_the_sets_on_which_its_pick_fails(visit, failing_file):
    page = visit(failing_file)
    page.fill("#ask-budget", "2")  # whole evaluations, as they are shown: 2.01 are 2
    assert "Use broad" in page.inner_text("#verdict")
    fails = page.inner_text("#fails")
    assert re.search(r"fails on c \(AUROC \.\d+, not shown to beat the best control\) and d \(does not apply\)", fails)
    assert "over the 4 sets" in page.inner_text("#verdict")
    evaluations = page.locator("#answers tbody tr").nth(0).locator("td").nth(3)
    assert evaluations.inner_text() == "2"
    evaluations.locator("[data-tip]").hover()
    assert "2.01 F" in page.inner_text("#tip")
    page.fill("#filter-cost", "2")
    assert names_of(page) == ["broad", "chance"]
    page.fill("#ask-budget", "1")
    assert "None." in page.inner_text("#verdict")
    assert page.get_attribute("#verdict", "data-sets") == "a b c d"


@pytest.mark.slow
def test_who_finds_nothing_is_not_named_beside_the_best(visit, tmp_path):
    """One negative above nearly all memorized items makes the best rate uncertain; nought is then not told apart."""
    shifts = {"good": 2.2, "other": 2.2, "nothing": -3.0}
    detectors = {"chance": ("none", 0.0, {"a": 0.0})} | {name: ("score", 1.0, {"a": s}) for name, s in shifts.items()}
    run = write_sets(tmp_path / "run", "a", detectors)
    data = payload_of([Run.load(run)], generations=0, picture_bytes=0)
    (described,) = data["sets"]
    assert described["tpr"]["nothing"][0][0] == 0
    for line, label in zip(described["tied"][1], described["tpr"], strict=True):
        if label != "chance":
            described["tied"][1][list(described["tpr"]).index(label)] = "1" * len(line)  # as if nobody were told apart
    (tmp_path / "page.html").write_text(render(data), encoding="utf-8")
    page = visit(tmp_path / "page.html")
    row = page.locator("#answers tbody tr").first.inner_text()
    assert "good" in row
    assert "other" in row
    assert "nothing" not in row


@pytest.mark.slow
def test_rows_of_other_noise_seeds_are_shown_and_not_ranked(visit, tmp_path):
    detectors = {
        "chance": ("none", 0.0, {"a": 0.0}),
        "one": ("score", 2.0, {"a": 1.0}),
        "two": ("score", 2.0, {"a": 1.2}),
        "many": ("score", 2.0, {"a": 4.0}),
    }
    run = write_sets(tmp_path / "run", "a", detectors, seeds={"chance": 1, "one": 2, "two": 2, "many": 5})
    (tmp_path / "page.html").write_text(to_html([run]), encoding="utf-8")
    page = visit(tmp_path / "page.html")
    assert names_of(page)[0] == "many"
    assert cells_of(page, "Rank group")["many"] == "5 seeds"
    assert cells_of(page, "Rank group")["two"] == "1"
    assert "not ranked" in page.inner_text("#table-note")
    page.fill("#ask-budget", "")
    assert "Use two" in page.inner_text("#verdict")
    assert "many" not in page.inner_text("#answers")
    assert page.inner_text("#set-size").endswith("2 noise seeds")
    assert "2 noise seeds" in page.inner_text("#ran")
    assert "many" not in page.text_content("#cost-numbers")


WORDLESS = re.compile(r"\b(?:null|undefined|NaN|Infinity|\[object \w+\])\b")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hostile", "random", "failing", "bare"])
def test_nothing_that_is_missing_becomes_a_word(visit, file, random_file, failing_file, name, tmp_path):
    bare = tmp_path / "bare.html"
    if name == "bare":  # nothing but scores, with one detector
        run = write_sets(tmp_path / "run", "a", {"alone": ("score", 1.0, {"a": 2.0})})
        bare.write_text(to_html([run]), encoding="utf-8")
    page = visit({"hostile": file, "random": random_file, "failing": failing_file, "bare": bare}[name])

    def check():
        said = page.evaluate(
            """() => [...document.querySelectorAll("main, main *, header, header *, footer")].flatMap((element) => [
                ...[...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data),
                ...[...element.attributes].map((a) => a.value)])"""
        )
        assert [text for text in said if WORDLESS.search(text)] == []

    for summary in page.locator("details:not([open]) > summary:visible").all()[:8]:
        summary.click()
    for option in page.locator("#set option").all_inner_texts():
        page.select_option("#set", label=option)
        page.select_option("#score-axis", "rank")
        check()
    for rate in ("1\u00a0%", "5\u00a0%", "10\u00a0%"):
        page.select_option("#ask-rate", label=rate)
        for budget in ("", "0", "2", "9"):
            page.fill("#ask-budget", budget)
            check()
    for box in page.locator("#ask-access input").all():
        box.uncheck()
    check()
    assert "None." in page.inner_text("#verdict") or "No answer" in page.inner_text("#verdict")


@pytest.mark.slow
def test_the_head_counts_those_that_ran_and_says_how_small_the_models_are(visit, file, tmp_path):
    page = visit()
    assert page.inner_text("#ran") == "5 detectors and 1 control on 2 sample sets: 250 items, 2 noise seeds. " + (
        "1 more has no numbers on any of them."
    )
    assert page.locator("#scale").count() == 0  # nothing is known of its model
    data = payload_of([write_small(tmp_path / "run")], generations=0, picture_bytes=0)
    (tmp_path / "page.html").write_text(render(data), encoding="utf-8")
    page = visit(tmp_path / "page.html")
    assert "32 x 32 pixels" in page.inner_text("#scale")
    assert page.locator("#scale").bounding_box()["y"] < 900  # on the first screen
    assert page.locator("#set").evaluate("element => element.selectedOptions[0].text") == "tiny-sd-b-verbatim"


def write_small(path):
    """A run of two shipped sets, of which the second is declared to be the first of a page."""
    names = ("tiny-sd-a-dose", "tiny-sd-b-verbatim")
    write_sets(path, names, {"wen2024": ("score", 1.0, dict.fromkeys(names, 1.0))})
    manifest = json.loads((path / "run.json").read_text())
    for entry in manifest["settings"]["sample_sets"]:
        spec = load_spec(entry["id"])
        entry |= {"version": spec.version, "model": spec.model}
    (path / "run.json").write_text(json.dumps(manifest))
    return Run.load(path)


@pytest.mark.slow
def test_a_planted_item_that_is_not_given_back_is_called_so(visit, run, tmp_path):
    data = payload_of([Run.load(run)], generations=0, picture_bytes=0)
    items = data["sets"][0]["items"]
    first, second = [index for index, label in enumerate(items["label"]) if label == 1][:2]
    items["copies"][first], items["extraction"][first] = 64, 0
    items["copies"][second], items["extraction"][second] = 64, 0.5
    (tmp_path / "page.html").write_text(render(data), encoding="utf-8")
    page = visit(tmp_path / "page.html")

    def card(index):
        page.fill("#item-text", items["id"][index])
        return page.inner_text("#item-list")

    assert "planted 64 times, not given back" in card(first)
    assert "copied" not in card(first)
    assert "50\u00a0% copied" in card(second)
    assert "planted" not in card(second)


def test_the_answer_says_where_a_rate_is_not_resolved(visit):
    page = visit()
    small = page.locator("#answers tbody tr").nth(1)
    assert "not resolvable" in small.inner_text()
    page.select_option("#ask-rate", label="10\u00a0%")
    assert "not resolvable" not in small.inner_text()


@pytest.mark.slow
def test_curves_have_the_area_of_the_table(visit, rows):
    page = visit()
    for name in ("large", "small & </script>"):
        page.select_option("#set", label=name)
        page.click("#picker summary") if page.get_attribute("#picker", "open") is None else None
        for label, row in of_set(rows, name).items():
            box = page.locator("#picker label", has=page.get_by_text(label, exact=True)).locator("input")
            box.check()
            area = page.locator("#roc path[data-detector]").evaluate_all(
                "(paths, label) => Number(paths.find(path => path.dataset.detector === label).dataset.area)", label
            )
            assert area == pytest.approx(row["auroc"], abs=1e-12)
            box.uncheck()


@pytest.mark.slow
def test_an_item_opens_by_keyboard_with_its_scores(visit):
    page = visit()
    page.fill("#item-text", "number 177")
    assert page.inner_text("#item-count") == "1 item of 210."
    page.focus("#item-list summary")
    page.keyboard.press("Enter")
    body = page.locator("#item-list li .item-body")
    body.wait_for()
    shown = body.locator("tbody tr").all_inner_texts()
    assert {text.split("\t")[0].strip(" *") for text in shown} == {
        "random", "wen2024", "jeon2025", "wen2024@steps=50", "copy-similarity", EVIL,
    }  # fmt: skip


@pytest.mark.slow
def test_items_are_sorted_and_filtered(visit):
    page = visit()
    page.select_option("#item-label", "1")
    assert page.inner_text("#item-count") == "90 items of 210."
    page.select_option("#item-stratum", label=STRATA[2])
    assert page.inner_text("#item-count") == "30 items of 210."
    page.select_option("#item-sort", label="score of the detector, highest first")
    ranks = [int(text) for text in re.findall(r"rank (\d+) by", page.inner_text("#item-list"))]
    assert ranks == sorted(ranks, reverse=True)
    page.select_option("#item-sort", label="disagreement between detectors")
    spread = [int(text) for text in re.findall(r"disagreement (\d+)", page.inner_text("#item-list"))]
    assert spread == sorted(spread, reverse=True)
    assert len(spread) == 20
    page.click("#item-more")
    assert page.locator("#item-list > li").count() == 30
    assert page.locator("#item-more").is_hidden()


@pytest.mark.slow
def test_untrusted_text_is_only_text(visit, html):
    page = visit()
    page.fill("#item-text", "000")
    assert page.inner_text("#item-list .prompt") == HOSTILE[0]
    page.click("#item-list summary")
    for words, prompt in (("bold", HOSTILE[1]), ("quotes", HOSTILE[2])):
        page.fill("#item-text", words)
        assert page.locator("#item-list .prompt").evaluate("element => element.textContent") == prompt
    page.select_option("#item-detector", EVIL)
    assert f"by {EVIL}" in page.inner_text("#item-list")
    page.select_option("#set", label="small & </script>")
    assert page.locator("img, iframe, b").count() == 0
    assert page.locator("script").count() == 2
    assert html.count("<script") == 2
    assert html.count("</script") == 2


def test_the_policy_admits_this_style_and_script_alone(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for element in (r"<style>(.*?)</style>", r"<script>(.*?)</script>"):
        (text,) = re.findall(element, html, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r"\b(?:src|href)=[\"']?https?:", html)


@pytest.mark.slow
def test_light_and_dark(visit):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = background(visit(color_scheme="light")), background(visit(color_scheme="dark"))
    assert light != dark
    page = visit(color_scheme="light")
    page.click("#theme")
    page.click("#theme")
    assert page.inner_text("#theme") == "Colours: dark"
    assert background(page) == dark


@pytest.mark.slow
def test_a_phone_scrolls_the_page_in_one_direction(visit):
    page = visit(width=360)
    for _ in page.locator("#set option").all():
        for summary in page.locator("details:not([open]) > summary:visible").all()[:12]:
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#set").press("ArrowDown")


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_accessibility(visit, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(color_scheme=scheme, width=width, bypass_csp=True)  # the checker is a script of its own
    page.click("#item-list summary")
    for name in ("roc-numbers", "cost-all", "set-facts", "provenance"):
        page.click(f"#{name} > summary")
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:90] for node in rule["nodes"]][:4]) for rule in found] == []


def test_the_same_run_gives_the_same_page(run, html):
    assert to_html([run]) == html


@pytest.mark.slow
def test_two_runs_on_one_page(visit, run, tmp_path):
    page_file = tmp_path / "two.html"
    page_file.write_text(to_html([run, run]), encoding="utf-8")
    page = visit(page_file)
    names = page.locator("#set option").all_inner_texts()
    assert names == [f"{name} (run {number})" for number in (1, 2) for name in ("large", "small & </script>")]


def test_scores_that_float32_would_merge_keep_their_order():
    from memdet.page.payload import _packed

    near = np.array([1.0, 1.0 + 1e-12, 1e300])
    assert np.frombuffer(base64.b64decode(_packed(near)), "<f8").tolist() == near.tolist()
    assert len(base64.b64decode(_packed(np.array([0.5, 0.25])))) == 8


@pytest.mark.slow
def test_images_are_drawn_and_the_limit_is_held(visit, tmp_path):
    run = write_run(tmp_path / "run")
    with_images(run)
    page_file = tmp_path / "page.html"
    page_file.write_text(to_html([run]), encoding="utf-8")
    page = visit(page_file)
    page.fill("#item-text", "177")
    page.click("#item-list summary")
    captions = page.locator("#item-list .pictures canvas").evaluate_all("found => found.map(c => c.ariaLabel)")
    assert captions == ["generation, seed 0", "generation, seed 1"]
    page.wait_for_selector("#item-list .pictures canvas[data-drawn]")
    red = page.locator("#item-list .pictures canvas").first.evaluate(
        "canvas => canvas.getContext('2d').getImageData(4, 4, 1, 1).data[0]"
    )
    assert red == pytest.approx(177, abs=12)  # lossy
    full = to_html([run])
    small = to_html([run], picture_bytes=6_000)
    assert len(small) < len(full)
    assert "data:image/webp" in small
    assert "data:image/webp" not in to_html([run], generations=0)


def with_images(run):
    """Two generations of each item of the larger set: grey of the item's number."""
    source = Run.load(run).sources["large"]
    columns = {name: [] for name in IMAGES.names}
    for number_of_item, item in enumerate(source.condition):
        for seed in (0, 1):
            buffer = io.BytesIO()
            pixels = np.full((8, 8), number_of_item, np.uint8)
            pixels[0] = np.random.default_rng(number_of_item + seed).integers(0, 256, 8)
            Image.fromarray(pixels).save(buffer, format="PNG")
            for name, value in zip(IMAGES.names, (*key_of(source, item, seed), buffer.getvalue()), strict=True):
                columns[name].append(value)
    pq.write_table(pa.table(columns, schema=IMAGES), run / FILE)


@pytest.mark.slow
def test_the_page_of_the_published_run_is_small_enough(monkeypatch):
    # Few draws: they change the digits and not their number.
    monkeypatch.setattr("memdet.tables.rows.evaluate_table", partial(evaluate_table, draws=20))
    monkeypatch.setattr("memdet.page.payload.evaluate_rates", partial(evaluate_rates, draws=20))
    text = to_html([ROOT / "results" / "controlled" / "reference"], generations=0)
    assert len(text.encode()) + PICTURE_BYTES < 3_000_000
