"""Real processes, started, watched and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from posthorn_local.errors import ProcessDied
from posthorn_local.supervisor import ManagedProcess, stop_all

pytestmark = pytest.mark.integration

ENVIRONMENT = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}
OBEDIENT = "import time; print('started'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('started'); time.sleep(600)"


@pytest.fixture
def program(tmp_path):
    programs = []

    def make(code, name="program", **options):
        programs.append(ManagedProcess(name, (sys.executable, "-c", code), tmp_path, ENVIRONMENT, **options))
        return programs[-1]

    yield make
    for started in programs:
        started.kill()


def start_and_wait(*programs):
    for program in programs:
        program.start()
        program.wait_until(lambda program=program: "started" in program.last_lines(1), seconds=60)


def test_a_program_is_started_once_and_stopped_by_its_signal(program):
    sleeper = program(OBEDIENT)
    start_and_wait(sleeper)

    assert sleeper.start() is False
    assert sleeper.stop() is True
    assert sleeper.process() is None


def test_a_program_that_does_not_obey_is_killed_after_its_time_while_others_end_by_themselves(program):
    obedient, stubborn = program(OBEDIENT, "obedient"), program(STUBBORN, "stubborn", stop_seconds=0.5)
    start_and_wait(obedient, stubborn)

    assert stop_all([obedient, stubborn]) == ["stubborn"]
    assert (obedient.process(), stubborn.process()) == (None, None)


def test_killing_takes_what_the_program_has_started_too(program):
    parent = program(
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid); print('started'); time.sleep(600)"
    )
    start_and_wait(parent)
    child = psutil.Process(int(parent.last_lines(2)[0]))

    parent.kill()

    psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_program_that_ends_while_starting_shows_its_last_words(program):
    failing = program("print('first'); raise SystemExit('no such database')")
    failing.start()

    with pytest.raises(ProcessDied, match=r"program ended while starting\.\n  \| first\n  \| no such database"):
        failing.wait_until(lambda: False, seconds=60)


def test_a_program_that_never_becomes_ready_is_given_up(program):
    sleeper = program(OBEDIENT)
    start_and_wait(sleeper)

    with pytest.raises(ProcessDied, match="was not ready after 0 s"):
        sleeper.wait_until(lambda: False, seconds=0.1)


def test_a_program_outlives_the_command_that_started_it(program, tmp_path):
    sleeper = program(OBEDIENT)
    starter = (
        "from pathlib import Path; from posthorn_local.supervisor import ManagedProcess; "
        f"ManagedProcess('program', {sleeper.command!r}, Path({str(tmp_path)!r}), {ENVIRONMENT!r}).start()"
    )
    subprocess.run([sys.executable, "-c", starter], check=True)

    assert sleeper.process() is not None
    assert sleeper.stop() is True
    assert sleeper.process() is None


def test_a_stale_pid_file_never_hits_a_stranger(program):
    stranger = program(OBEDIENT, "stranger")
    start_and_wait(stranger)
    sleeper = program(OBEDIENT)
    sleeper.pid_file.write_text(json.dumps({"pid": stranger.process().pid, "started": 1.0}))

    assert sleeper.process() is None
    sleeper.stop()
    sleeper.kill()

    assert stranger.process() is not None


def test_a_program_has_its_own_session_and_the_environment_it_was_given(program):
    reporter = program("import os; print(os.getsid(0) == os.getpid(), sorted(os.environ)); print('started')")
    reporter.start()
    with pytest.raises(ProcessDied):
        reporter.wait_until(lambda: False, seconds=60)

    facts = reporter.last_lines(2)[0]
    assert facts.startswith("True ")
    assert "PYTEST_CURRENT_TEST" not in facts


def test_the_stop_signal_can_be_another(program):
    sleeper = program(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "signal.signal(signal.SIGINT, signal.SIG_DFL); print('started'); time.sleep(600)",
        stop_signal=signal.SIGINT,
    )
    start_and_wait(sleeper)

    assert sleeper.stop() is True
