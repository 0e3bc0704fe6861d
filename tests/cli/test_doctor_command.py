"""``memdet doctor`` as its user meets it."""

import json
import shutil

import pytest

from memdet import doctor
from memdet.io_utils import weights_root
from tests.helpers.tiny_pipelines import save


@pytest.mark.slow
def test_all_is_well_here(cli):
    code, out, _ = cli("doctor", "--offline", "--format", "json")
    found = {row["check"]: row["status"] for row in json.loads(out)}
    assert code == 0
    assert "problem" not in found.values()
    required = ["python", "packages", "cores", "torch", "device cpu", "forward AD on cpu", "detectors", "models"]
    assert set(found) >= {*required, "sample sets", "cache", "hub cache", "assets"}


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_exit_code_and_text(status, code, cli, monkeypatch):
    finding = doctor.Finding("thing", status, "found\nso", "" if status == "ok" else "do that")
    monkeypatch.setattr(doctor, "examine", lambda *, offline: iter([finding]))
    found, out, _ = cli("doctor")
    assert found == code
    assert f"{status:8} thing: found so" in out
    assert ("mend: do that" in out) == (status != "ok")
    assert f"{code} problem" in out


def rows(cli, *arguments):
    code, out, _ = cli("doctor", "--offline", "--format", "json", "--model", *arguments)
    return code, {row["check"]: row for row in json.loads(out)}


def test_a_model_is_looked_at(cli, random_pipeline):
    code, found = rows(cli, str(random_pipeline))
    assert code == 0
    assert {row["status"] for row in found.values()} == {"ok"}
    assert "predicts eps" in found["prediction"]["detail"]
    assert "from t = 981 (alpha" in found["trajectory"]["detail"]
    assert "unet/diffusion_pytorch_model.safetensors" in found["files"]["detail"] or "..." in found["files"]["detail"]
    assert "the model is the pipeline: predictions differ by" in found["certificate"]["detail"]


@pytest.mark.slow
def test_a_flow_starts_at_pure_noise(cli, tmp_path):
    code, found = rows(cli, str(save("sd3", tmp_path)), "--dtype", "float64")
    assert code == 0
    assert "second step" in found["first step"]["detail"]
    assert found["certificate"]["status"] == "ok"


@pytest.mark.slow
def test_a_wrong_prediction_type_is_a_problem(cli, tmp_path):
    directory = tmp_path / "wrong"
    shutil.copytree(weights_root() / "tiny-sd-a", directory)
    file = directory / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "v_prediction"}))
    code, found = rows(cli, str(directory))
    assert code == 1
    assert found["prediction"]["status"] == "problem"
    assert "looks like eps" in found["prediction"]["detail"]


def test_a_closed_form_has_no_certificate(cli):
    code, found = rows(cli, "mixture-2d")
    assert code == 0
    assert found["certificate"]["detail"].startswith("not applicable")


def test_options_of_a_model_want_one(cli):
    code, _, err = cli("doctor", "--lora", "x.safetensors")
    assert code == 2
    assert "--lora goes with --model" in err
