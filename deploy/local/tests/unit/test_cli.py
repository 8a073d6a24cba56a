from __future__ import annotations

import sys

import pytest

from posthorn_local import cli
from posthorn_local.environment import SERVICES


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command line on a stack of its own; gives (status, output, errors)."""
    monkeypatch.setattr(cli, "STATE", tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["posthorn-local", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


def test_status_shows_every_program_of_a_stack_that_was_never_started(command):
    status, output, _ = command("status")

    assert status == 0
    lines = {line.split()[0]: line.split()[1] for line in output.splitlines()[1:] if not line.startswith(" ")}
    assert lines == dict.fromkeys(["postgres", "valkey", "rabbitmq", "mailcatcher", *SERVICES], "stopped")


def test_status_of_a_stack_with_a_dead_program_fails(command, tmp_path):
    pid_file = tmp_path / "stack" / "run" / "mailer.pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text('{"pid": 2147483647, "started": 0}')

    status, output, _ = command("status")

    assert status == 1
    assert output.splitlines()[-1].startswith("posthorn: mailer died: `make logs NAME=mailer`")


def test_stopping_what_was_never_started_is_no_error(command):
    for name in ("down", "reset", "test-servers-down"):
        assert command(name)[0] == 0


def test_a_problem_is_one_sentence_and_no_traceback(command):
    status, output, errors = command("logs", "mailer")

    assert status == 1
    assert output == ""
    assert errors.startswith("posthorn: there is no log in ")
    assert len(errors.splitlines()) == 1
