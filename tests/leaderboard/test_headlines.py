"""The board's table of methods at their papers' points."""

from memdet.leaderboard.headlines import headlines_markdown


def row(of_set, detector, auroc, *, seeds=4, ranked=True, status="ok"):
    bounds = {"auroc_low": None if auroc is None else auroc - 0.1, "auroc_high": None if auroc is None else auroc + 0.1}
    told = {"seeds": seeds, "ranked": ranked, "status": status, "access": "score"}
    return {"sample_set": of_set, "sample_set_version": 1, "detector": detector, "auroc": auroc} | bounds | told


def lines(rows):
    return [line for line in headlines_markdown(rows).splitlines() if line.startswith("| ")]


GUIDED, OWN = "tiny-sd-a-verbatim-guided", "tiny-sd-a-verbatim"


def test_the_papers_point_stands_beside_the_protocols():
    rows = [
        row(OWN, "wen2024", 0.7, seeds=8),
        row(OWN, "wen2024@steps=50", 0.6, seeds=8),
        row(OWN, "p-laplace@directions=32", 0.5, seeds=8),
        row(GUIDED, "wen2024", 0.75),
        row(GUIDED, "wen2024@steps=50", 0.8),
        row(GUIDED, "p-laplace", 0.85, seeds=1, ranked=False),
        row(GUIDED, "bright-ending", None, status="not-applicable"),
        row(GUIDED, "curvature-gap", 0.9),
        row(GUIDED, "a-plugin", 0.9),
    ]
    head, rule, *body = lines(rows)
    assert head == f"| method | headline | {GUIDED} | {OWN} |"
    assert "---" in rule
    assert body == [
        "| p-laplace | `directions=1024,t=10`, n = 1, guidance 7.5 | .850 [.750, .950]‡ "
        "| .500 [.400, .600] (`directions=32`) |",
        "| wen2024 | `steps=50`, n = 4, guidance 7.5 | .800 [.700, .900] | .700 [.600, .800] |",
    ]
    assert "here it is 4," in headlines_markdown(rows)
    assert "guidance 2;" in headlines_markdown(rows)


def test_there_is_no_table_without_the_suite():
    assert headlines_markdown([row(OWN, "wen2024", 0.7)]) == ""
