"""``FILE.py:NAME`` where a model is named: what it makes, what its fingerprint covers, and what is refused."""

import json
import sys
from pathlib import Path

import pytest
import torch

import memdet
from memdet.errors import UserError
from memdet.models import ScoreModel, load_model
from memdet.running import RunOptions, run

CODE = """\
import torch
import memdet
from scale_of_{tag} import FACTOR

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(FACTOR, dtype=torch.float64))

    def forward(self, x, t, condition):
        return self.weight * x + condition[:, None]

SCHEDULE = memdet.NoiseSchedule.vp(torch.linspace(0.999, 0.01, 1_000, dtype=torch.float64))

def make_model():
    return memdet.ScoreModel.from_callable(
        Net().eval(), shape=(2,), schedule=SCHEDULE, dtype=torch.float64,
        embed=lambda texts: torch.tensor([float(len(text)) for text in texts]), null=torch.zeros(1),
    )

model = make_model()
"""


@pytest.fixture
def own(tmp_path, request):
    """A file that makes a model, and one beside it that it imports, of a name of its own."""
    tag = "".join(letter if letter.isalnum() else "_" for letter in f"{request.node.name}")

    def write(code=CODE, folder="nets", factor="0.5"):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / f"scale_of_{tag}.py").write_text(f"FACTOR = {factor}\n")
        (place / "own.py").write_text(code.replace("{tag}", tag))
        return f"{place}/own.py:make_model"

    yield write
    sys.modules.pop(f"scale_of_{tag}", None)


def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    texts = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]
    path.write_text("".join(json.dumps({"prompt": t, "memorized": i % 2}) + "\n" for i, t in enumerate(texts)))
    return path


def test_a_file_makes_a_model(own):
    reference = own()
    model = load_model(reference)
    assert isinstance(model, ScoreModel)
    assert (model.name, model.latent_shape, model.dtype) == ("own.py:make_model", (2,), torch.float64)
    x = torch.ones(1, 2, dtype=torch.float64)
    assert model.eps(x, 3, model.embed(["abc"])).tolist() == [[3.5, 3.5]]
    assert set(model.files()) == {"own.py", next(name for name in model.files() if name.startswith("scale_of_"))}
    ready = load_model(reference.replace("make_model", "model"))
    assert ready.name == "own.py:model"
    assert ready.fingerprint() == model.fingerprint()
    assert str(Path(reference.partition(":")[0]).parent) not in sys.path


def test_the_fingerprint_is_that_of_the_code_wherever_it_lies(own):
    first = load_model(own()).fingerprint()
    sys.modules.pop(next(name for name in sys.modules if name.startswith("scale_of_")))
    assert load_model(own(folder="elsewhere")).fingerprint() == first
    assert load_model(own(CODE.replace("self.weight * x", "2 * self.weight * x"), "elsewhere")).fingerprint() != first


def test_an_imported_file_that_changes_is_not_mixed_with_what_was_read(own):
    model = load_model(reference := own())
    before = model.fingerprint()
    own(factor="0.25")
    with pytest.raises(UserError, match=r"scale_of_.*changed since this process read it"):
        model.files()
    with pytest.raises(UserError, match=r"scale_of_.*changed since this process imported it"):
        load_model(reference)
    assert model.fingerprint() == before


def test_a_module_of_the_same_name_elsewhere_is_refused(own):
    load_model(own())
    with pytest.raises(UserError, match=r"imports scale_of_.*of which this process has read .*nets.*rename"):
        load_model(own(folder="elsewhere"))


BAD = {
    "no function": ("", r"own.py has no make_model: define it"),
    "another name": ("def make_modle():\n    pass\n", "did you mean make_modle"),
    "no score model": (
        "import torch\ndef make_model():\n    return torch.nn.Linear(1, 1)\n",
        "Linear: return a memdet.Sc",
    ),
    "nothing": ("def make_model():\n    pass\n", "own.py:make_model is no score model but NoneType"),
    "arguments": ("def make_model(path):\n    pass\n", "TypeError.*path.*without arguments"),
    "raises": ("def make_model():\n    raise OSError('no\\nweights')\n", "raised OSError: no weights"),
    "exits": ("raise SystemExit(3)\n", "cannot be loaded: SystemExit: 3"),
    "syntax": ("def\n", "cannot be loaded: SyntaxError"),
    "no package": ("import no_such_package_here\n", "ModuleNotFoundError.*no_such_package_here"),
    "a mistake of memdet's": (
        "import memdet\ndef make_model():\n    return memdet.ScoreModel.from_callable(3, shape=(2,), schedule=None)\n",
        "own.py:make_model: `fn` is 3",
    ),
    "half a model": (
        "from memdet import ScoreModel\nclass make_model(ScoreModel):\n"
        "    embed = embed_null = predict = lambda *_: None\n    fingerprint = lambda self: 'x'\n",
        "the model has no name, latent_shape, schedule, prediction_type, device, dtype; set them",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_model_is_one_line(name, tmp_path):
    code, words = BAD[name]
    (tmp_path / "own.py").write_text(code)
    with pytest.raises(UserError, match=words) as stop:
        load_model(f"{tmp_path}/own.py:make_model")
    assert len(str(stop.value).splitlines()) == 1


def test_a_file_that_is_not_there_or_names_nothing(tmp_path, own):
    with pytest.raises(UserError, match=r"none.py does not exist"):
        load_model(f"{tmp_path}/none.py:make")
    reference = own()
    with pytest.raises(UserError, match=r"name the function in it.*FILE.py:NAME"):
        load_model(reference.partition(":")[0])
    with pytest.raises(UserError, match=r"computes in torch.float64, and `dtype` is torch.float16"):
        load_model(reference, dtype=torch.float16)
    with pytest.raises(UserError, match=r"computes on cpu, and `device` is meta"):
        load_model(reference, device="meta")


def test_a_closed_form_stays_one(tmp_path):
    (tmp_path / "own.py").write_text("import memdet\nmixture = memdet.load_model('mixture-2d')\n")
    mine, shipped = load_model(f"{tmp_path}/own.py:mixture"), load_model("mixture-2d")
    assert type(mine) is type(shipped)
    assert mine.fingerprint() == shipped.fingerprint()


def test_scores_are_those_of_the_model_itself(own, tmp_path):
    """By its name, as an object, and as the arithmetic says: the branches differ by the length of the prompt."""
    reference, path = own(), prompts(tmp_path)
    items = memdet.SampleSet.from_file(path, model=reference, steps=5)
    runs = [
        memdet.evaluate("wen2024", items, device="cpu", progress=False),
        memdet.evaluate("wen2024", items, model=load_model(reference), progress=False),
    ]
    assert [one.manifest.settings.sample_sets[0].steps for one in runs] == [5, 5]
    rows = [one.score_rows().query("detector == 'wen2024'")["score"].tolist() for one in runs]
    assert rows[0] == rows[1]
    assert rows[0] == pytest.approx([2**0.5 * length for length in range(1, 7)])


def test_a_loaded_model_and_several_workers_are_refused(own, tmp_path):
    items = memdet.SampleSet.from_file(prompts(tmp_path), model="x", steps=5)
    models = {"x": load_model(own())}
    with pytest.raises(UserError, match=r"handed to other processes.*`workers` 1"):
        run([items], [memdet.get_detector("wen2024")], tmp_path / "run", RunOptions(workers=2), models=models)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [True, False])
def test_workers_make_the_model_again_and_it_must_be_the_same(own, tmp_path, fixed):
    reference = own(factor="0.5" if fixed else "__import__('os').getpid() * 1e-3")
    items = memdet.SampleSet.from_file(prompts(tmp_path), model=reference, steps=2, seeds=2)
    detectors = [memdet.get_detector("wen2024")]
    arguments = ([items], detectors, tmp_path / "run", RunOptions(workers=2, batch_size=2))
    if not fixed:
        with pytest.raises(UserError, match=r"own.py:make_model makes another model in another process.*`workers` 1"):
            run(*arguments, progress=False)
        return
    found = run(*arguments, progress=False).score_rows()
    alone = run([items], detectors, None, RunOptions(batch_size=2), progress=False).score_rows()
    assert found["score"].tolist() == alone["score"].tolist()
