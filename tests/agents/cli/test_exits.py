"""Every error has an exit code that means something."""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings

import click
import pytest
from click.testing import CliRunner

from codec_agents.cli import LazyGroup, exits, main
from codec_agents.exceptions import (
    CodecAgentsError,
    ContextFullError,
    EngineUnavailableError,
    LimitExceededError,
    PipelineError,
    RecordError,
)
from codec_agents.faults import Fault
from codec_core.exceptions import CodecError

FAULT = Fault("nodes.a", "no map", "name one")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError([FAULT]), exits.FAULTS),
        (EngineUnavailableError("a", "refused"), exits.ENGINE_FAILED),
        (LimitExceededError("node", "turns", 3), exits.LIMIT_REACHED),
        (ContextFullError("node", 300, 256), exits.LIMIT_REACHED),
        (RecordError("damaged"), exits.DATA_UNUSABLE),
        (CodecError("damaged"), exits.DATA_UNUSABLE),
        (FileNotFoundError("x"), exits.DATA_UNUSABLE),
        (CodecAgentsError("other"), exits.RUN_FAILED),
    ],
)
def test_codes(error: Exception, code: int) -> None:
    assert exits.exit_code(error) == code


def failing(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @exits.reporting
    def command(as_json: bool) -> None:
        raise error

    return command


def test_people_get_one_message_and_no_traceback() -> None:
    result = CliRunner().invoke(failing(PipelineError([FAULT])))
    assert result.exit_code == exits.FAULTS
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "name one" in result.stderr
    assert "Traceback" not in result.stderr


def test_programs_get_a_document() -> None:
    result = CliRunner().invoke(failing(PipelineError([FAULT])), ["--json"])
    document = json.loads(result.stdout)
    assert document["exit_code"] == result.exit_code == exits.FAULTS
    assert document["error"]["faults"][0]["remedy"] == "name one"


def test_an_interruption_has_the_shells_code() -> None:
    assert CliRunner().invoke(failing(KeyboardInterrupt())).exit_code == exits.INTERRUPTED
    document = json.loads(CliRunner().invoke(failing(KeyboardInterrupt()), ["--json"]).stdout)
    assert (document["error"]["message"], document["exit_code"]) == ("interrupted", exits.INTERRUPTED)


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (KeyboardInterrupt(), False),
        (BaseExceptionGroup("tasks", [ValueError("x"), KeyboardInterrupt()]), False),
        (BaseExceptionGroup("tasks", [ValueError("x")]), True),
        (ValueError("x"), True),
        (None, True),
    ],
)
def test_tasks_that_a_second_interrupt_ends_say_nothing(
    error: BaseException | None, printed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    CliRunner().invoke(failing(KeyboardInterrupt()))
    with warnings.catch_warnings(record=True) as caught, contextlib.closing(asyncio.new_event_loop()) as loop:
        warnings.simplefilter("always")
        loop.call_exception_handler({"message": "at shutdown", "exception": error})
        warnings.warn("coroutine 'f' was never awaited", RuntimeWarning, stacklevel=1)
    assert bool(caplog.records) == bool(caught) == printed


def test_a_bug_keeps_its_traceback() -> None:
    assert isinstance(CliRunner().invoke(failing(ZeroDivisionError())).exception, ZeroDivisionError)


def test_ctrl_c_while_a_command_is_imported_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyGroup, "get_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == exits.INTERRUPTED
    assert capsys.readouterr().err.strip() == "interrupted"
