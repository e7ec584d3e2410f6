"""Steps, and what a failing one says."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bulkhead.errors import BulkheadError
from bulkhead.progress import Steps, slug


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "logs", Console(file=io.StringIO(), width=200))


def shown(steps: Steps) -> str:
    assert isinstance(steps.console.file, io.StringIO)
    return steps.console.file.getvalue()


def test_a_step_is_announced_and_timed(steps: Steps) -> None:
    with steps("Build the box") as step:
        assert step.run(["echo", "hello"]) == "hello\n"
        step.note("12 MB")
    first, last = shown(steps).splitlines()
    assert first == "Build the box …"
    assert last.startswith("Build the box: done 0.")
    assert last.endswith(" s (12 MB)")
    assert list(steps.timings) == ["Build the box"]
    assert (steps.logs / "build-the-box.log").read_text() == "$ echo hello\nhello\n"


def test_a_failing_command_names_itself_its_status_its_output_and_its_log(steps: Steps) -> None:
    script = 'for i in $(seq 40); do echo "line $i"; done; exit 7'
    with pytest.raises(BulkheadError) as error, steps("Build the box") as step:
        step.run(["sh", "-c", script], hint="Try again.")
    assert f"this command failed (exit status 7): sh -c '{script}'" in error.value.message
    assert "line 40" in error.value.message
    assert "line 26\n" in error.value.message
    assert "line 25\n" not in error.value.message
    assert error.value.hint == f"Try again. Log: {steps.logs / 'build-the-box.log'}"
    assert shown(steps).splitlines()[-1].startswith("Build the box: failed 0.")


def test_the_reason_is_shown_rather_than_the_traceback_below_it(steps: Steps) -> None:
    script = r"""echo 'no such kernel (Error)'; for i in $(seq 40); do printf '\tfrom %s.rb\n' "$i"; done; exit 1"""
    with pytest.raises(BulkheadError) as error, steps("Start") as step:
        step.run(["sh", "-c", script])
    assert "\n    no such kernel (Error)" in error.value.message
    assert "40.rb" not in error.value.message


def test_a_command_that_is_not_there(steps: Steps) -> None:
    with pytest.raises(BulkheadError, match=r"\(not found\): no-such-command"), steps("Look") as step:
        step.run(["no-such-command"])


def test_a_command_that_takes_too_long(steps: Steps) -> None:
    with pytest.raises(BulkheadError, match=r"\(no end after 0\.2 s\): sleep 60"), steps("Look") as step:
        step.run(["sleep", "60"], timeout=0.2)


def test_only_what_a_progress_bar_leaves_is_shown(steps: Steps) -> None:
    with pytest.raises(BulkheadError) as error, steps("Upload") as step:
        step.run(["sh", "-c", r"printf 'Progress: 1%%\rProgress: 2%%\rProgress: 100%%\n'; exit 1"])
    assert "    Progress: 100%" in error.value.message.splitlines()
    assert "1%" not in error.value.message.splitlines()[1]


def test_the_log_of_an_earlier_run_is_replaced(steps: Steps) -> None:
    for word in ("first", "second"):
        with steps("Say") as step:
            step.run(["echo", word])
    assert (steps.logs / "say.log").read_text() == "$ echo second\nsecond\n"


def test_the_table_has_every_step(steps: Steps) -> None:
    with steps("One"):
        pass
    with pytest.raises(ValueError, match="two"), steps("Two"):
        raise ValueError("two")
    steps.console.print(steps.table())
    output = shown(steps)
    assert "What took how long" in output
    assert "One" in output
    assert "failed" in output


def test_slug() -> None:
    assert slug("Start gvisor (2 vCPU)") == "start-gvisor-2-vcpu"
