"""``memdet bench plan``."""

import csv
import io
import json
import shutil

import pytest

from memdet.benching.projection.unet import read_unet_config

SMALL = ["bench", "plan", "--model", "tiny-sd-a", "--detector", "wen2024", "--detector", "hessian-trace"]
CONTRACT = {
    "detector",
    "model",
    "device",
    "dtype",
    "batch_size",
    "items_per_second",
    "forwards_per_second",
    "efficiency",
    "peak_memory_bytes",
    "measured",
}


@pytest.mark.slow
def test_json(cli):
    code, out, _ = cli(
        *SMALL, "--model", "fashion-pixel", "--dtype", "float32", "--batch-size", "8", "--format", "json"
    )
    rows = json.loads(out)
    assert code == 0
    assert [(row["model"], row["detector"]) for row in rows] == [
        (model, detector) for model in ("tiny-sd-a", "fashion-pixel") for detector in ("wen2024", "hessian-trace")
    ]
    for row in rows:
        assert set(row) > CONTRACT
        assert row["measured"] is False
        assert (row["device"], row["dtype"], row["batch_size"], row["efficiency"]) == ("h100", "float32", 8, 1.0)
        assert row["items_per_second"] < row["items_per_second_of_flops"] == pytest.approx(66.9e12 / row["flops"])
        assert 0.9 < row["coverage"] < 1
        assert "add" in row["uncounted"]
    wen, trace = rows[:2]
    assert wen["forwards_per_second"] == pytest.approx(2 * wen["items_per_second"])
    assert (trace["forwards"], trace["jvps"], trace["vjps"]) == (1, 0, 4)


@pytest.mark.slow
def test_a_published_model_in_seconds(cli):
    (row,) = json.loads(cli("bench", "plan", "--model", "sd-1.4", "--detector", "wen2024", "--format", "json")[1])
    assert row["flops"] == pytest.approx(2 * 0.803e12, rel=1e-3)
    assert 1.719e9 < row["peak_memory_bytes"] < 80e9
    assert row["items_per_second"] < 989.4e12 / row["flops"]


@pytest.mark.slow
def test_csv_holds_the_same_numbers(cli):
    rows = json.loads(cli(*SMALL, "--format", "json")[1])
    table = list(csv.DictReader(io.StringIO(cli(*SMALL, "--format", "csv")[1])))
    assert [float(row["items_per_second"]) for row in table] == [row["items_per_second"] for row in rows]
    assert {row["measured"] for row in table} == {"False"}
    assert "add" in table[0]["uncounted"].split()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "markdown"])
def test_text_says_that_it_is_a_projection(form, cli):
    out = cli(*SMALL, "--format", form)[1]
    for text in (
        "PROJECTION, nothing was measured: tiny-sd-a on NVIDIA H100",
        "items / s, at most",
        "native_group_norm",
        "12 tokens",
    ):
        assert text in out
    assert out.index("PROJECTION") < 5


@pytest.mark.slow
def test_what_does_not_fit_has_no_rate(cli):
    arguments = ["--batch-size", "1000000000", "--format"]
    for row in json.loads(cli(*SMALL, *arguments, "json")[1]):
        assert (row["items_per_second"], row["forwards_per_second"], row["status"]) == (None, None, "does not fit")
    assert cli(*SMALL, *arguments, "table")[1].count("does not fit") == 2


@pytest.mark.slow
def test_without_names_all_detectors_but_the_controls(cli):
    rows = json.loads(cli("bench", "plan", "--model", "tiny-sd-a", "--format", "json")[1])
    listed = json.loads(cli("list", "detectors", "--format", "json")[1])
    assert {row["detector"] for row in rows} == {row["name"] for row in listed if row["access"] not in {"none", "text"}}


@pytest.mark.slow
def test_to_a_file(cli, tmp_path):
    code, out, _ = cli(*SMALL, "--format", "csv", "--out", tmp_path / "deep" / "plan.csv")
    assert (code, out) == (0, "")
    assert (tmp_path / "deep" / "plan.csv").read_text().startswith("detector,model,device")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "abacus"], ["--device 'abacus'", "h100"]),
        (["--dtype", "float8"], ["--dtype 'float8'", "tf32"]),
        (["--device", "t4", "--dtype", "bfloat16"], ["NVIDIA T4 has no bfloat16"]),
        (["--batch-size", "0"], ["--batch-size '0'"]),
        (["--batch-size", "-3"], ["--batch-size '-3'"]),
        (["--format", "xml"], ["--format 'xml'", "markdown"]),
        (["--detector", "jeon2026"], ["unknown detector 'jeon2026'", "jeon2025"]),
        (["--detector", "prompt-length"], ["prompt-length is a control"]),
        (["--model", "sd-1.5"], ["'sd-1.5'", "sd-1.4"]),
        (["--model", "mixture-2d"], ["'mixture-2d'"]),
    ],
)
def test_bad_input(arguments, words, refused, tmp_path):
    refused(*SMALL, *arguments, "--out", tmp_path / "plan.txt", words=words, untouched=tmp_path / "plan.txt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", ["not valid JSON"]),
        (b"[]", ["not a JSON object"]),
        (b"\xff", ["not valid JSON"]),
        (b"{}", ["_class_name is None", "UNet2DConditionModel"]),
        (b'{"_class_name": ["UNet2DConditionModel"]}', ["_class_name"]),
        (b'{"_class_name": "FluxTransformer2DModel"}', ["FluxTransformer2DModel"]),
        (b'{"_class_name": "UNet2DConditionModel", "block_out_channels": [7]}', ["cannot build"]),
    ],
)
def test_damaged_configurations(content, words, refused, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    refused("bench", "plan", "--model", tmp_path / "config.json", words=["config.json", *words])


def test_a_directory_without_a_configuration(refused, tmp_path):
    refused("bench", "plan", "--model", tmp_path, words=["config.json does not exist"])


def test_a_pipeline_needs_no_weights(cli, copy_of_pipeline, tmp_path):
    model = copy_of_pipeline()
    for weights in model.glob("*/*.safetensors"):
        weights.unlink()
    shutil.rmtree(model / "vae")
    (row,) = json.loads(cli("bench", "plan", "--model", model, "--detector", "wen2024", "--format", "json")[1])
    assert row["model"] == model.name
    assert row["flops"] > 0
    assert read_unet_config(str(model)).tokens == 12
