"""The group: lazy commands, plain errors, exit codes."""

import errno
import os
import subprocess
import sys
import types

import pytest

from ultra_core.errors import UltraError
from ultra_train.cli.app import commands, load, main

QUIET = {**os.environ, "ULTRA_DISABLE_PLUGINS": "*", "PYTHONWARNINGS": "error"}

LIGHT = """
import sys
from ultra_train.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "datasets", "sentence_transformers", "accelerate"} & set(sys.modules)
sys.exit(f"{code} {heavy}" if code or heavy else 0)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "presets", "--guide", "lowest_vram"], ["run", "--help"], ["--version"]],
)
def test_these_import_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, env=QUIET, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_every_command_has_help(ultra):
    for name, target in commands().items():
        assert load(target).name in (name, "list")
        result = ultra(name, "--help")
        assert result.exit_code == 0, result.output
        assert load(target).get_short_help_str()


def test_help_names_every_command(ultra):
    output = ultra("--help").output
    assert all(f"  {name} " in output for name in commands())


def raising(monkeypatch, error):
    """Make ``ultra-train run`` end with this."""

    def execute(*_, **__):
        raise error

    monkeypatch.setitem(sys.modules, "ultra_train.run.execution", types.SimpleNamespace(execute=execute))


def test_an_error_is_a_message_and_exit_code_2(ultra, preset, monkeypatch):
    raising(monkeypatch, UltraError("the corpus has no usable text; name another"))
    result = ultra("run", preset)
    assert result.exit_code == 2
    assert result.stderr == "error: the corpus has no usable text; name another\n"


def test_debug_shows_the_traceback(ultra, preset, monkeypatch):
    error = UltraError("what a pity")
    raising(monkeypatch, error)
    assert ultra("--debug", "run", preset).exception is error
    monkeypatch.setenv("ULTRA_DEBUG", "1")
    from click.testing import CliRunner

    from ultra_train.cli.app import cli

    assert CliRunner().invoke(cli, ["run", preset]).exception is error


def test_an_interruption_points_at_resume(ultra, preset, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    result = ultra("run", preset)
    assert result.exit_code == 130
    assert "--resume" in result.stderr
    assert "Traceback" not in result.output


def test_an_interruption_of_another_command_does_not(ultra, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ultra_train.cli.plugin.check.trials_of", interrupt)
    result = ultra("plugin", "check", "wsd")
    assert result.exit_code == 130
    assert result.stderr == "interrupted by SIGINT at once\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(ultra, preset, monkeypatch, code):
    raising(monkeypatch, OSError(code, "no space", "runs/x/model.safetensors"))
    result = ultra("run", preset)
    assert result.exit_code == 2
    assert "the disk is full while writing runs/x/model.safetensors" in result.stderr


def test_a_full_disk_is_said_that_a_library_reports_as_text(ultra, preset, monkeypatch):
    raising(monkeypatch, Exception("I/O error: No space left on device (os error 28)"))
    result = ultra("run", preset)
    assert (result.exit_code, "the disk is full; free some space" in result.stderr) == (2, True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOENT])
def test_a_path_that_the_system_refuses_is_said(ultra, preset, monkeypatch, code):
    raising(monkeypatch, OSError(code, os.strerror(code), "/media/stick/table.csv"))
    result = ultra("run", preset)
    assert result.exit_code == 2
    assert result.stderr == f"error: /media/stick/table.csv: {os.strerror(code)} (--debug shows where)\n"


def test_a_defect_of_ours_keeps_its_traceback(ultra, preset, monkeypatch):
    raising(monkeypatch, RuntimeError("a bug"))
    assert isinstance(ultra("run", preset).exception, RuntimeError)


def test_main_returns_exit_codes(capsys):
    assert main(["--version"]) == 0
    assert main(["no-such-command"]) == 2
    assert main(["validate", "no-such-preset"]) == 2
    assert "error: unknown preset 'no-such-preset'" in capsys.readouterr().err


def test_a_closed_pipe_is_quiet():
    child = subprocess.Popen(
        [sys.executable, "-m", "ultra_train", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=QUIET,
    )
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate()
    assert err == b""
