"""``memdet audit``, and runs that must open no connection."""

import json
import socket

import pytest
import yaml

from memdet.samplesets import load_spec, load_suite, specs_directory


@pytest.fixture
def two_files(tmp_path):
    (tmp_path / "m.txt").write_text("".join(f"Word{k} Other{k} Third{k}\n" for k in range(30)))
    (tmp_path / "c.csv").write_text("n;prompt\n" + "".join(f"{k};plain{k} simple{k} small{k}\n" for k in range(30)))
    return ["audit", "--memorized", tmp_path / "m.txt", "--control", tmp_path / "c.csv"]


@pytest.fixture
def no_socket(monkeypatch):
    def closed(*arguments, **options):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, closed)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))


@pytest.mark.slow
def test_two_files(cli, two_files, tmp_path):
    code, out, err = cli(*two_files, "--format", "json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert (result["n_positive"], result["n_negative"], result["flagged"]) == (30, 30, True)
    assert cli(*two_files)[1].rstrip().endswith(result["verdict"])
    assert cli(*two_files, "--format", "markdown", "--out", tmp_path / "deep" / "audit.md")[1] == ""
    assert result["verdict"] in (tmp_path / "deep" / "audit.md").read_text()


def test_strict_fails_unless_the_set_passes(cli, two_files, tmp_path):
    assert cli(*two_files, "--strict")[0] == 1
    assert cli("audit", "fashion-multi-1", "--strict")[0] == 0
    for name, text in (("m.txt", "One\nTwo\n"), ("c.csv", "prompt\none\ntwo\n")):
        (tmp_path / name).write_text(text)
    code, out, _ = cli(*two_files, "--strict")
    assert code == 1
    assert "undecided" in out


def test_a_suite_is_a_table(cli, monkeypatch):
    suite = load_suite("oracle")
    code, out, _ = cli("audit", "--suite", "oracle", "--format", "markdown")
    assert code == 0
    assert [line.split(" | ")[0].strip("| ") for line in out.splitlines()[2:4]] == suite.sample_sets
    assert len(json.loads(cli("audit", "--suite", "oracle", "--format", "json")[1])) == 2
    assert "passed" in cli("audit", "--suite", "oracle")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--suite", "--memorized"]),
        (["mixture-2d", "--suite", "oracle"], ["name one of"]),
        (["--memorized", "x.txt"], ["go together"]),
        (["mixture-2d", "--column", "prompt"], ["--column belongs to"]),
        (["mixture-3d"], ["mixture-2d"]),
        (["--suite", "orcale"], ["oracle"]),
        (["--memorized", "none.txt", "--control", "none.txt"], ["none.txt does not exist"]),
        (["--memorized", ".", "--control", "."], ["is a directory"]),
    ],
)
def test_wrong_usage(arguments, words, refused):
    refused("audit", *arguments, words=words)


def test_a_refused_audit_leaves_the_old_file(refused, two_files, tmp_path):
    (tmp_path / "old.json").write_text("keep me")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    refused(*two_files, "--format", "json", "--out", tmp_path / "old.json", words=["'a', 'b'", "--column"])
    assert (tmp_path / "old.json").read_text() == "keep me"


def test_messages_hold_no_control_characters(cli, two_files, tmp_path):
    (tmp_path / "c.csv").write_text("a\x1b[2J,b\x9b\n1,2\n")
    code, _, err = cli(*two_files)
    assert code == 2
    assert "\x1b" not in err
    assert "\x9b" not in err


def test_published_sets_are_listed_and_not_fetched(cli, no_socket, no_cache):
    listed = {row["id"] for row in json.loads(cli("list", "samples", "--format", "json")[1])}
    assert {*load_suite("published").sample_sets, "asthana-rv51"} <= listed


@pytest.mark.parametrize("command", ["run", "audit"])
def test_the_published_suite_offline_is_one_clear_line(command, refused, no_socket, no_cache, tmp_path):
    address = load_spec("jeon-sd1").source.parts[0].source.url
    words = [address, "--offline fetches nothing", "--files"]
    out = tmp_path / "out"
    refused(command, "--suite", "published", "--offline", "--out", out, words=words, untouched=out)


def test_a_published_set_without_checksums_says_how_to_get_it(refused, no_socket, no_cache):
    refused("audit", "asthana-rv51", words=["RV_mem.txt", "no known checksum", "--files"])


def test_a_model_that_is_not_cached_names_what_the_spec_knows(refused, no_socket, no_cache, monkeypatch, tmp_path):
    import yaml

    from memdet.samplesets import specs_directory

    spec = yaml.safe_load((specs_directory() / "jeon-sd2.yaml").read_text())
    spec["model"] = "memdet-tests/no-such-model"
    spec["source"]["parts"] = [
        {"name": name, "source": {"kind": "local", "path": f"{name}.txt"}, "items": 1}
        for name in ("memorized", "control")
    ]
    for name in ("memorized", "control"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    words = ["memdet-tests/no-such-model", "--offline fetches nothing", "November 2025", "sd2-community"]
    out = tmp_path / "out"
    refused("run", tmp_path / "spec.yaml", "--offline", "--quiet", "--out", out, words=words, untouched=out)


@pytest.mark.slow
def test_an_offline_run_opens_no_socket(cli, no_socket, tmp_path):
    arguments = ["tiny-sd-a-narrow", "--detector", "wen2024", "--seeds", "1", "--offline", "--quiet"]
    assert cli("run", *arguments, "--out", tmp_path / "run")[0] == 0


def both_labels(tmp_path):
    """Thirty prompts a class; three of them in both, in other spellings."""
    words = [f"word{k} other{k} third{k}" for k in range(57)]
    (tmp_path / "m.txt").write_text("\n".join(words[:30]) + "\n")
    (tmp_path / "c.txt").write_text("\n".join([*words[30:], *(text.upper() for text in words[:3])]) + "\n")
    return ["audit", "--memorized", tmp_path / "m.txt", "--control", tmp_path / "c.txt"]


def test_a_prompt_in_both_classes_flags_the_set_and_exits_with_1(cli, tmp_path):
    code, out, err = cli(*both_labels(tmp_path))
    told = "flagged: no run takes it: 3 prompts are labelled both 1 and 0 ('word0 other0 third0', items memorized-00001"
    assert (code, err) == (1, "")
    assert told in out
    assert "in both classes: 6" in out
    code, out, _ = cli(*both_labels(tmp_path), "--format", "json")
    result = json.loads(out)
    assert (code, result["flagged"]) == (1, True)
    assert "3 prompts" in result["contradiction"]


def spec_of(tmp_path, rows, **columns):
    spec = yaml.safe_load((specs_directory() / "tiny-sd-swap.yaml").read_text())
    names = {"id": "item_id", "prompt": "prompt"}
    label = {"column": "label", "positive": [1], "negative": [0]}
    spec |= {"id": "mine", "source": {"kind": "local", "path": "items.csv"}, "blind_controls": {}}
    spec["columns"] = names | {"label": label} | columns
    (tmp_path / "items.csv").write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_a_spec_with_a_prompt_under_both_labels_or_in_both_splits_is_flagged(cli, tmp_path):
    rows = [("i1", "a red shoe", 1, "test"), ("i2", "a blue bag", 0, "test"), ("i3", "a green coat", 0, "test")]
    header = ("item_id", "prompt", "label", "split")
    assert cli("audit", spec_of(tmp_path, [header, *rows], split="split"))[0] == 0
    for row, told in [
        (("i4", "a red shoe", 0, "test"), "1 prompt is labelled both 1 and 0 ('a red shoe', items i1, i4)"),
        (("i4", "a  RED shoe", 1, "dev"), "1 prompt is in both dev and test ('a red shoe', items i1, i4)"),
    ]:
        path = spec_of(tmp_path, [header, *rows, row], split="split")
        code, out, _ = cli("audit", path)
        assert code == 1
        assert told in out
        code, _, err = cli("run", path, "--detector", "wen2024", "--out", tmp_path / "run")
        assert code == 2
        assert f"sample set mine: {told}" in err


def test_one_prompt_under_two_models_contradicts_nothing(cli):
    code, out, _ = cli("audit", "tiny-sd-swap", "--format", "json")
    result = json.loads(out)
    assert code == 0
    assert result["duplicates"]["exact_across"] > 300  # by the text alone
    assert "contradiction" not in result
    assert result["flagged"] is False
