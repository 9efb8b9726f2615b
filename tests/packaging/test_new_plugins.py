"""What ``plugin new`` writes, beside our wheels: every kind installs, is checked, tests itself and trains."""

import subprocess
import sys

import pytest

from ultra_train.cli.plugin.templates import GROUPS

NAMES = {kind: f"fresh_{kind}" for kind in GROUPS}
FOLDERS = {kind: f"fresh-{kind}" for kind in GROUPS}


@pytest.fixture(scope="module")
def packages_of_all_kinds(wheels):
    """The environment with a new package of every kind."""
    for kind, name in NAMES.items():
        wheels.ultra_train("plugin", "new", name, "--kind", kind)
    sources = [f"./{folder}[testing]" for folder in FOLDERS.values()]
    wheels.run("uv", "pip", "install", "-q", "-c", "constraints.txt", "--find-links", "dist", *sources)
    wheels.run("uv", "pip", "check")
    return wheels


def each(environment, *command):
    """Run a command in the folder of each package, and return what it printed by name."""
    return {
        name: environment.ultra_train(
            *(part.format(name=name) for part in command), folder=environment.folder / FOLDERS[kind]
        )
        for kind, name in NAMES.items()
    }


def test_the_kits_find_nothing_wrong(packages_of_all_kinds):
    printed = each(packages_of_all_kinds, "plugin", "check", "{name}", "--quick")
    for name, said in printed.items():
        assert f"{name}: " in said.splitlines()[-1]
        assert " 0 broken" in said.splitlines()[-1]


def test_the_presets_train_with_the_plugins(packages_of_all_kinds):
    each(packages_of_all_kinds, "run", "{name}.yaml", "--set", "training.max_steps=2")
    for kind, name in NAMES.items():
        run = packages_of_all_kinds.folder / FOLDERS[kind] / "runs" / name
        assert (run / "model" / "model.safetensors").exists()
        assert kind == "hook" or name in (run / "config.yaml").read_text()
        # the hooks are at work in every run
        assert (run / "weights.csv").read_text().startswith("parameter,shape")


def test_their_own_tests_pass(packages_of_all_kinds):
    folders = [f"{folder}/tests" for folder in FOLDERS.values()]
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib")
    printed = packages_of_all_kinds.run(
        "python", "-m", "pytest", *options, *folders, ULTRA_KIT_EFFORT="quick"
    )
    assert " passed" in printed.splitlines()[-1]


def test_their_code_is_tidy(packages_of_all_kinds):
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *FOLDERS.values()],
            cwd=packages_of_all_kinds.folder, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
