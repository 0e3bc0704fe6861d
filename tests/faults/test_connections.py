"""Nothing connects with ``--offline``, no code of a model's own is run, and what is fetched is known before."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import memdet
from memdet.samplesets.fetch import specs_directory

ROOT = Path(memdet.__file__).parent
OFFLINE = """
import sys
begun = []

def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg", "urllib.Request"):
        begun.append((event, arguments[1:]))

sys.addaudithook(note)
from memdet.cli import main

prompts, out = sys.argv[1] + "/prompts.txt", sys.argv[1] + "/run"
quick = ["--detector", "wen2024@steps=2", "--seeds", "1", "--offline"]
open(prompts, "w").write("tight\\nbroad\\n")
for arguments in (
    ["run", "mixture-2d", *quick, "--out", out],
    ["scan", "--model", "tiny-sd-a", "--prompts", prompts, *quick],
    ["audit", "mixture-2d", "--offline"],
    ["list", "samples"],
    ["list", "detectors"],
    ["report", out],
    ["zoo", "verify", "toy-2d"],
):
    try:
        main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    assert not begun, (arguments, begun)
    print(*arguments[:2], "status", status, file=sys.stderr)

import socket
try:
    socket.create_connection(("127.0.0.1", 1), 0.1)
except OSError:
    pass
assert [event for event, _ in begun if event == "socket.connect"]  # this would have been seen
"""


@pytest.mark.slow
def test_offline_commands_connect_to_nowhere(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_HUB_OFFLINE")}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line for line in done.stderr.splitlines() if " status " in line]
    assert len(said) == 7
    assert all(line.endswith(" status 0") for line in said), done.stderr[-3000:]


def trusts(source: str) -> bool:
    """Whether a call or a dictionary of keywords gives ``trust_remote_code`` another value than False."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg="trust_remote_code", value=value):
                found.append(value)
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                found += [value for key, value in pairs if getattr(key, "value", None) == "trust_remote_code"]
            case ast.Subscript(slice=ast.Constant(value="trust_remote_code")):
                found.append(node)
    return any(getattr(value, "value", None) is not False for value in found)


def test_no_call_trusts_code_of_a_model():
    calls = ("f(trust_remote_code=True)", "f(trust_remote_code=x)", "f(**{'trust_remote_code': 1})")
    assert all(map(trusts, (*calls, "x['trust_remote_code'] = True")))
    assert not trusts("f(trust_remote_code=False)")
    texts = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")]
    assert len(texts) > 100
    assert not any(trusts(text) for text in texts if "trust_remote_code" in text)


def _sources(value):
    if isinstance(value, dict):
        if value.get("kind") in ("url", "hub"):
            yield value
        for inner in value.values():
            yield from _sources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _sources(inner)


def test_what_is_fetched_is_https_and_has_a_checksum():
    specs = sorted(specs_directory().rglob("*.yaml"))
    sources = [(path, source) for path in specs for source in _sources(yaml.safe_load(path.read_text()))]
    assert sources
    for path, source in sources:
        assert len(source["sha256"]) == 64, path
        addresses = [source["url"], *source.get("mirrors", [])] if source["kind"] == "url" else []
        assert all(address.startswith("https://") for address in addresses), path
