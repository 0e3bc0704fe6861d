"""Calls the command line in this process and gives back what a shell would see."""

import pytest

from memdet.cli import main


@pytest.fixture
def cli(capfd):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def refused(cli):
    """Demand exit code 2, one line that holds the words, no traceback, and nothing written under ``untouched``."""

    def call(*arguments, words, untouched=None):
        code, out, err = cli(*arguments)
        assert code == 2, err
        assert out == ""
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, err
        assert lines[0].startswith("memdet: ")
        for word in words:
            assert word in lines[0]
        if untouched is not None:
            assert not untouched.exists()

    return call
