"""A configuration of a giant network is refused before memory is taken."""

import json
import resource
import shutil

import pytest

from memdet.errors import UserError
from memdet.io_utils import weights_root
from memdet.models import load_model


@pytest.mark.parametrize(
    ("component", "changes"),
    [
        ("unet", {"block_out_channels": [40_000, 40_000]}),
        ("text_encoder", {"hidden_size": 40_000, "intermediate_size": 160_000}),
    ],
)
def test_a_giant_network_is_refused(tmp_path, component, changes):
    directory = tmp_path / "model"
    shutil.copytree(weights_root() / "tiny-sd-a", directory)
    config = directory / component / "config.json"
    content = json.loads(config.read_text())
    if component == "unet":
        changes = {"block_out_channels": [40_000] * len(content["block_out_channels"])}
    config.write_text(json.dumps(content | changes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        UserError, match=rf"{component}/config.json describes a network of \d+,\d{{3}},\d{{3}},\d{{3}} "
    ):
        load_model(str(directory))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB; the network would take 40 GB
