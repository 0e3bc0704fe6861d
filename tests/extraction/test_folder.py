"""A folder of training images and its captions, as training scripts lay them out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdet.errors import UserError
from memdet.extraction import captions_of, open_folder, prompts_of


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of images and texts; the path of each is relative to it."""

    def make(*images, **texts):
        root = tmp_path / "train"
        for index, name in enumerate(images):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), index, np.uint8)).save(path)
        for name, text in texts.items():
            (root / name.replace("__", "/")).write_text(text, encoding="utf-8")
        return root

    return make


def test_images_in_folders_below_are_found_and_hidden_ones_are_not(folder):
    root = folder("b.PNG", "a.jpg", "cats/c.webp", "cats/.thumb.png", ".cache/d.png", "__MACOSX/b.png", "e.gif")
    found = open_folder(root)
    assert found.files == (Path("a.jpg"), Path("b.PNG"), Path("cats/c.webp"))
    assert found.notes == ("Not read, being neither png, jpg nor webp: 1 of .gif.",)


def test_metadata_as_the_imagefolder_of_datasets_has_it(folder):
    root = folder("a.png", "b.png", "cats/c.png", "cats/d.png")
    (root / "metadata.csv").write_text('file_name,text\na.png,"a, one"\ncats/c.png,far\n')
    lines = [{"file_name": "c.png", "text": "near"}, {"file_name": "d.png", "text": "a, one"}]
    (root / "cats" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = open_folder(root)
    captions = captions_of(found)
    assert captions == {Path("a.png"): "a, one", Path("cats/c.png"): "near", Path("cats/d.png"): "a, one"}
    prompts = prompts_of(found, captions).prompts
    assert [(p.id, p.text, p.lines) for p in prompts] == [("a.png", "a, one", (1, 4)), ("cats/c.png", "near", (3,))]


def test_the_imagefolder_of_datasets_reads_the_same_captions(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    root = folder("a.png", "cats/c.png")
    (root / "metadata.csv").write_text("file_name,text\na.png,one\ncats/c.png,two\n")
    theirs = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(theirs["text"]) == sorted(captions_of(open_folder(root)).values()) == ["one", "two"]


def test_text_files_beside_images_as_kohya_has_them(folder):
    root = folder("10_cat/a.png", "10_cat/b.jpg", "10_cat/c.png")
    (root / "10_cat" / "a.txt").write_text("\n sks cat, sitting \nsecond line\n")
    (root / "10_cat" / "b.caption").write_text("sks cat")
    (root / "10_cat" / "c.txt").write_text(" \n")
    captions = captions_of(open_folder(root))
    assert captions == {Path("10_cat/a.png"): "sks cat, sitting", Path("10_cat/b.jpg"): "sks cat"}


def test_metadata_goes_before_text_files(folder):
    root = folder(
        "a.png", "b.png", **{"a.txt": "file", "b.txt": "file", "metadata.csv": "file_name,prompt\na.png,row\n"}
    )
    assert captions_of(open_folder(root)) == {Path("a.png"): "row", Path("b.png"): "file"}


def test_a_column_of_captions_by_name(folder):
    root = folder("a.png", **{"metadata.csv": "file_name,tags\na.png,x y\n"})
    assert captions_of(open_folder(root), "tags") == {Path("a.png"): "x y"}


WRONG = {
    "row without its image": ("file_name,text\nz.png,one\n", ["metadata.csv, line 2", "z.png", "is not there"]),
    "image that is not read": ("file_name,text\ne.gif,one\n", ["line 2", "e.gif", "no png, jpg or webp"]),
    "image outside": ("file_name,text\n../up.png,one\n", ["line 2", "../up.png"]),
    "no captions": ("file_name,tags\na.png,one\n", ["metadata.csv", "'prompt' is missing"]),
    "no names": ("text\none\n", ["metadata.csv", "file_name"]),
    "blank caption": ("file_name,text\na.png, \n", ["line 2", "empty"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_metadata_names_its_line(name, folder):
    text, words = WRONG[name]
    root = folder("a.png", "e.gif", **{"metadata.csv": text})
    with pytest.raises(UserError) as error:
        captions_of(open_folder(root))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_no_captions_is_one_line_that_says_which_there_could_be(folder):
    found = open_folder(folder("a.png"))
    with pytest.raises(UserError, match=r"no captions .*metadata.csv.*NAME.txt.*`prompts`"):
        prompts_of(found, captions_of(found))


def test_a_folder_without_images(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no image"):
        open_folder(empty)
    with pytest.raises(UserError, match=r"holds no image.*\.gif files: convert"):
        open_folder(folder("a.gif"))
    with pytest.raises(UserError, match="does not exist"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        open_folder(tmp_path / "train" / "a.gif")


@pytest.mark.parametrize("out", [".", "..", "runs", "../train/runs/new"])
def test_generations_never_lie_among_training_images(out, folder):
    root = folder("a.png")
    with pytest.raises(UserError, match="taken for training images"):
        open_folder(root, root / out)


def test_results_may_lie_beside_the_training_images(folder):
    root = folder("a.png")
    assert open_folder(root, root.parent / "runs").files == (Path("a.png"),)
