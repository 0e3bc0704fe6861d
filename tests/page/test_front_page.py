"""The front page of a leaderboard in a browser: verdicts, addresses, cards that say more, screens of three widths."""

import json
import re
from functools import partial
from pathlib import Path

import pytest

from memdet.leaderboard import board, cells, front_data
from memdet.leaderboard.page import leaderboard_html
from memdet.metrics import bootstrap_sets, evaluate_rates, evaluate_table
from memdet.samplesets import load_spec
from tests.helpers.pages import write_sets

SETS = {"first": "verbatim", "second": "verbatim", "third": "partly", "fourth": "membership"}
DETECTORS = {  # label: access, forwards, and by set how far it separates
    "chance": ("none", 0.0, dict.fromkeys(SETS, 0.0)),
    "seer": ("training-data", 3.0, dict.fromkeys(SETS, 5.0)),
    "wen2024@steps=50": ("score", 50.0, {"first": 3.0, "second": 3.0, "third": 1.1, "fourth": 0.0}),
    "webster2023": ("score", 1.0, {"first": 2.0, "second": 2.0, "third": 0.0, "fourth": 0.0}),
    "webster2023@t=5": ("score", 1.0, {"first": 1.0, "second": 1.0, "third": 0.5, "fourth": 0.0}),
    "picky": ("gradient", 20.0, {"first": None, "second": 2.5, "third": 0.0, "fourth": None}),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A leaderboard of which the answer is known: the dear one is best, the cheap one fails on ``third``."""
    root = tmp_path_factory.mktemp("board")
    write_sets(root / "suite" / "run", list(SETS), DETECTORS)
    (root / "audits").mkdir()
    for name, version in (("second", 1), ("third", 9)):
        told = {"version": version, "verdict": f"passed: the audit of {name}"}
        (root / "audits" / f"{name}.json").write_text(json.dumps(told))
    with pytest.MonkeyPatch.context() as patch:
        spec = load_spec("tiny-sd-a-verbatim")
        specs = {
            (name, 1): spec.model_copy(update={"id": name, "version": 1, "world": "w", "question": question})
            for name, question in SETS.items()
        }
        for module in (cells, front_data):
            patch.setattr(module, "spec_of", specs.get)
        # Few draws: they change the digits of intervals, and nothing that is looked at here.
        patch.setattr("memdet.tables.rows.evaluate_table", partial(evaluate_table, draws=50))
        patch.setattr("memdet.page.payload.evaluate_rates", partial(evaluate_rates, draws=50))
        patch.setattr("memdet.leaderboard.ranking.bootstrap_sets", partial(bootstrap_sets, draws=100))
        (root / "page.html").write_text(leaderboard_html(root), encoding="utf-8")
    assert board.find_runs(root)
    return root / "page.html"


def check_accessible(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:120] for node in rule["nodes"]][:4]) for rule in found] == []


def check_steady(page):
    """Nothing moved after it was drawn, and nothing scrolls to the side."""
    moved = page.evaluate(
        """() => new Promise((done) => new PerformanceObserver((list) =>
            done(list.getEntries().map((entry) => entry.value))).observe({type: "layout-shift", buffered: true})
            || setTimeout(() => done([]), 50))"""
    )
    assert sum(moved) == 0
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def check_words(page):
    """What is missing is left out, and never becomes a word."""
    text = page.evaluate("document.body.innerText") + " ".join(
        page.locator("[aria-label]").evaluate_all("found => found.map(one => one.ariaLabel)")
    )
    assert not re.search(r"\b(?:null|undefined|NaN|Infinity|\[object \w+\])\b", text)
    assert page.locator("[title], svg title").count() == 0  # cards, by mouse, touch and keyboard alike


def card(page, key):
    found = page.locator(f"[data-card={key}]")
    return found.get_attribute("data-pick"), " ".join(found.inner_text().split())


def methods(page):
    return page.locator("#board tbody tr[data-method]").evaluate_all("rows => rows.map(row => row.dataset.method)")


@pytest.mark.slow
def test_a_wide_screen(open_page, file):
    page = open_page(file, 1440, color_scheme="light", bypass_csp=True)
    check_steady(page)
    check_words(page)
    check_accessible(page)
    pick, text = card(page, "overall")
    assert pick == "wen2024@steps=50"  # the oracle is better, and no answer
    assert "Fails on none of these sets." in text
    pick, text = card(page, "within")
    assert pick == "webster2023"
    assert "Fails on third ." in text
    assert "not shown to beat the best control" in text
    assert card(page, "forward")[0] == "webster2023"
    assert "Unsolved partly" in card(page, "unsolved")[1]
    data = json.loads(page.text_content("#data"))
    ranked = [row for row in data["front"]["rows"] if row["rank"]]
    assert methods(page) == [row["label"] for row in ranked]
    assert methods(page)[:2] == ["seer", "wen2024@steps=50"]
    assert "fourth: membership: a check" in page.locator("#outside").text_content()
    heads = page.locator("#board .sets th").all_inner_texts()
    assert heads == ["third", "first", "second"]

    picky = page.locator("#board tr[data-method=picky] td.heat")
    assert picky.nth(1).inner_text() == "\u2013"
    assert page.locator("#board tr[data-method=picky] td.heat em").count() == 1  # third: no better than the control

    # A card by mouse, and one that stays.
    picky.nth(2).hover()
    assert "picky on second" in page.inner_text("#tip")
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    picky.nth(1).click()
    page.mouse.move(5, 5)
    assert "it needs images" in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()

    # By keyboard: one stop of the tab key, arrows within, Enter into the card and Escape back.
    page.locator("#board [data-tip][tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.locator("#board tr[data-method=seer] td.heat").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert "wen2024@steps=50 on first" in page.inner_text("#tip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('#tip') !== null")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.cellIndex") == 5
    assert page.locator("#board [data-tip][tabindex='0']").count() == 1

    # Variants unfold, and have no rank.
    page.click("#board tr[data-method=webster2023] .fold")
    variant = page.locator("#board tr.variant")
    assert variant.get_attribute("data-variant") == "webster2023@t=5"
    assert variant.locator(".rank").inner_text() == ""


@pytest.mark.slow
def test_weights_and_budgets_are_in_the_address_and_copies_are_of_what_is_shown(open_page, file):
    page = open_page(file, 1440, "?budget=60", permissions=["clipboard-read", "clipboard-write"])
    assert page.input_value("#budget") == page.input_value("#ask-budget") == "60"
    assert card(page, "within")[0] == "wen2024@steps=50"
    page.fill("#budget", "0")
    assert card(page, "within")[0] is None
    assert page.url.endswith("?budget=0")
    page.fill("#budget", "10")
    assert page.url.endswith("page.html")  # what is not said is ten
    page.click("#weights summary")
    before = methods(page)
    assert [one["name"] for one in json.loads(page.text_content("#data"))["front"]["questions"]] == [
        "partly",
        "verbatim",
    ]
    page.fill("#weights input[data-question=verbatim]", "0")
    assert page.url.endswith("?weights=verbatim%3A0")
    data = json.loads(page.text_content("#data"))["front"]
    third = {row["label"]: row["gains"][0] for row in data["rows"] if row["rank"]}
    assert methods(page) == sorted(third, key=lambda label: (-third[label], label)) != before
    assert page.locator("#weights-note").is_visible()
    page.reload()
    assert methods(page) != before
    page.click("#weights-equal")
    assert methods(page) == before
    page.uncheck("#front-others")
    assert "seer" not in methods(page)

    from playwright.sync_api import expect

    def copied(what, inside):
        page.click(f"{inside} [data-copy={what}]")
        expect(page.locator("#said")).to_contain_text(f"{what} copied")
        return page.evaluate("navigator.clipboard.readText()")

    lines = copied("CSV", "#front-copy").splitlines()
    assert [line.split(",")[0] for line in lines] == ["method", *methods(page)]
    assert lines[0].endswith(",evaluations,third,first,second")
    assert copied("LaTeX", "#front-copy").splitlines()[0] == "\\begin{tabular}{l" + 10 * "r" + "}"
    assert "webster2023 & " in page.evaluate("navigator.clipboard.readText()")


@pytest.mark.slow
def test_the_address_restores_a_view(open_page, file):
    page = open_page(file, 768, "?method=webster2023", color_scheme="dark", bypass_csp=True)
    check_steady(page)
    check_words(page)
    check_accessible(page)
    assert page.inner_text("#method-title") == "webster2023"
    body = page.inner_text("#method-body")
    assert "not shown to beat the best control" in body
    assert "memdet run third first second --detector webster2023 --seeds 1" in body
    assert page.locator("#method-body a", has_text="code").get_attribute("href").endswith(".py")
    assert page.locator("#method-body [data-copy=BibTeX]").is_visible()
    page.click("#wins summary")
    wins = page.locator("#wins tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(c => c.innerText))")
    assert ["seer", "0", "0", "3", "3"] in wins
    assert ["chance", "2", "1", "0", "3"] in wins
    page.locator("#method-body a", has_text="third").first.click()
    assert page.url.endswith("?set=third") or page.url.endswith("?set=third&method=webster2023")
    assert page.inner_text("#leaderboard-title") == "All detectors on third"
    assert "the audit of" not in page.locator("#set-facts").text_content()  # that of another version
    page.go_back()
    assert page.inner_text("#method-title") == "webster2023"
    page.click("#to-home")
    assert page.locator("#board-cards").is_visible()

    page.goto(file.as_uri() + "?set=second&method=picky")
    assert page.inner_text("#leaderboard-title") == "All detectors on second"
    assert "passed: the audit of second" in page.locator("#set-facts").text_content()
    assert page.input_value("#item-detector") == "picky"
    assert page.locator("#legend").inner_text().count("picky") == 1
    page.goto(file.as_uri() + "?set=nowhere")
    assert page.inner_text("#missing") == "This page has no sample set nowhere."
    assert page.locator("#cards").is_visible()


@pytest.mark.slow
def test_a_phone(open_page, file):
    options = {"color_scheme": "dark", "has_touch": True, "is_mobile": True, "bypass_csp": True}
    page = open_page(file, 390, **options)
    check_steady(page)
    check_words(page)
    check_accessible(page)
    assert page.locator("#board-scroll").is_hidden()
    assert page.locator("#board-cards > li").count() == len(methods(page))
    assert "rank 2" in page.locator("#board-cards > li").nth(1).inner_text()
    page.goto(file.as_uri() + "?set=second")
    check_steady(page)
    check_words(page)
    assert page.locator("#table thead").is_hidden()  # cards, not columns
    cost = page.locator("#table tr[data-detector=picky] .tip-word")
    cost.tap()
    assert "20 F" in page.inner_text("#tip")
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.locator("#tip .tip-close").tap()
    assert page.locator("#tip").is_hidden()


def test_the_committed_leaderboard_is_one_small_file():
    file = Path(__file__).resolve().parents[2] / "results" / "leaderboard.html"
    assert file.stat().st_size < 4_000_000
