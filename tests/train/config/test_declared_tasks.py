"""Keys of tasks: composed into one section, checked like ours; a broken task hurts only runs that name it."""

import json
import subprocess
import sys
from typing import ClassVar

import attrs
import pytest

from ultra_core import tasks
from ultra_core.config import parse_source
from ultra_core.errors import ConfigError, PluginError
from ultra_core.plugins.metadata import Entry
from ultra_train.config import from_source, to_tree
from ultra_train.config.data import TextKeys
from ultra_train.config.declared_tasks import declared_tasks, untrainable
from ultra_train.config.keys import Count, key
from ultra_train.config.schema import preset_schema
from ultra_train.tasks.base import Task


class Stub(Task):
    """A task that nobody starts."""

    def start(self, preset, folder, *, device, say=print):
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class FlatOptions(TextKeys):
    shine: Count = key(3, "how bright it is")
    polish: Count = key(2, "how often it is polished")


class Flat(Stub):
    options: ClassVar = FlatOptions
    synonyms: ClassVar = {"training.shine": "brightness glow"}

    def rules(self, options, preset):
        if options.shine < options.polish:
            yield (*self.path, "shine"), f"shine ({options.shine}) must be at least polish ({options.polish})"

    def idle_keys(self, options, preset):
        if options.polish == 1:
            yield "training.polish"


@attrs.frozen(kw_only=True)
class OwnSection:
    depth: Count = key(help="how deep it goes")


class Sectioned(Stub):
    options: ClassVar = OwnSection
    section: ClassVar = "well"


@pytest.fixture
def added(monkeypatch):
    """Register tasks of a stranger: ``added(name=class)``."""
    monkeypatch.setattr(tasks, "_added", [])

    def add(**named):
        for name, task in named.items():
            tasks.add(name, task, source="a-plugin")

    return add


@pytest.fixture
def flat(minimal, added):
    """A preset for the task with flat keys."""
    added(flat=Flat, sectioned=Sectioned)
    return minimal.replace("task: mlm", "task: flat")


def test_keys_of_a_task_stand_where_it_says_and_have_defaults(load, flat):
    preset = load(flat, "training.shine=5")
    assert (preset.training.shine, preset.training.polish, preset.training.well) == (5, 2, None)
    assert declared_tasks().find("a-plugin:flat").given_options(preset) == FlatOptions(shine=5)
    assert to_tree(preset)["training"]["polish"] == 2
    assert load(flat, "training.well={depth: 3}").training.well == OwnSection(depth=3)


def test_they_are_checked_like_ours(problems, flat):
    (fault,) = problems(flat.replace("task: flat", "task: flat\n  shiny: 3"))
    assert (fault.line, fault.column, fault.key) == (12, 3, "training.shiny")
    assert "Did you mean 'shine'" in fault.message
    assert "a number >= 1" in problems(flat, "training.shine=0")[0].message
    assert "did you mean training.shine?" in problems(flat, "training.brightness=3")[0].message
    assert problems(flat, "training.well={}")[0].key == "training.well.depth"
    (fault,) = problems(flat, "training.shine=1")
    assert (fault.key, fault.message) == ("training.shine", "shine (1) must be at least polish (2)")


def test_its_rules_hold_for_its_own_presets_only(load, minimal, added):
    added(flat=Flat)
    (line,) = load(minimal, "training.shine=1").notices
    assert line == "no effect in this run: training.shine"


def test_what_is_idle_is_said(load, flat):
    assert load(flat, "training.polish=1").notices == ("no effect in this run: training.polish",)
    assert load(flat, "training.mlm_probability=0.3", "training.max_length=99").notices == (
        "no effect in this run: training.mlm_probability",
    )


def test_the_schema_has_them(added, validator):
    added(flat=Flat, sectioned=Sectioned)
    schema = preset_schema()
    while "else" in schema:  # past the presets of other forms
        schema = schema["else"]
    training = schema["properties"]["training"]["properties"]
    assert training["shine"] == {
        "type": "integer", "minimum": 1, "description": "how bright it is", "default": 3
    }  # fmt: skip
    assert training["well"]["anyOf"][0]["required"] == ["depth"]
    assert "flat" in json.dumps(training["task"])


def test_a_task_without_an_optimizer_of_its_own_needs_one(problems, flat):
    (fault,) = problems(flat, "training.optimizer=")
    assert fault.message.startswith("flat needs training.optimizer")


def test_describe_lists_them(ultra, added):
    added(flat=Flat)
    output = ultra("describe", "flat").output
    assert "options, in training:" in output
    assert "shine: a whole number >= 1 [3]\n        how bright it is" in output


@attrs.frozen(kw_only=True)
class Greedy:
    batch_size: str = key("big", "no number at all")


@attrs.frozen(kw_only=True)
class Rival:
    shine: str = key("none", "not how bright it is")


@attrs.frozen(kw_only=True)
class Demanding:
    needed: int = key(help="without a default")


def broken(options):
    return type("Broken", (Stub,), {"options": options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Greedy, "training.batch_size, which every run declares otherwise"),
        (Rival, "training.shine, which the task 'flat' declares otherwise"),
        (Demanding, "the required option 'needed' without a section"),
    ],
)
def test_keys_that_cannot_be_used_hurt_only_runs_that_name_their_task(
    minimal, load, problems, added, options, message
):
    added(flat=Flat, worse=broken(options))
    assert load(minimal).notices == ()
    found = problems(minimal, "training.task=worse")
    assert message in next(fault.message for fault in found if fault.key == "training.task")


def test_so_does_a_task_that_cannot_be_imported(minimal, load, problems, added):
    added(gone="ultra_nowhere.task:Gone")
    assert load(minimal).notices == ()
    (fault,) = problems(minimal, "training.task=gone")
    assert "cannot be imported" in fault.message


def test_so_does_a_class_that_is_no_task(minimal, load, problems, added):
    added(odd=object)
    assert load(minimal).notices == ()
    (fault,) = problems(minimal, "training.task=odd")
    assert "must be a subclass of ultra_train.tasks.base.Task" in fault.message


@pytest.mark.parametrize("method", ["rules", "missing", "idle_keys"])
def test_a_method_that_fails_names_its_task(minimal, load, added, method):
    def fail(self, *arguments):
        raise ZeroDivisionError("division by zero")

    added(faulty=type("Faulty", (Flat,), {method: fail}))
    message = rf"{method}\(\) of the task 'faulty' of a-plugin failed: ZeroDivisionError: division by zero"
    with pytest.raises(PluginError, match=message):
        list(load(minimal.replace("task: mlm", "task: faulty")).notices)


def test_a_preset_without_a_task_means_the_default(load, minimal, added):
    text = minimal.replace("  task: mlm\n", "")
    assert load(text).training.task == declared_tasks().default
    added(first=type("First", (Stub,), {"default": True}))
    assert load(text).training.task == "mlm"  # a stranger's default does not take the place of ours


def test_declarations_import_no_torch():
    code = """import sys
from ultra_train.config.declared_tasks import declared_tasks
known = declared_tasks()
assert {task.name for task in known.all} >= {"mlm", "sbert", "splade", "csr"}
assert not known.broken, known.broken
known.preset_class
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"ULTRA_DISABLE_PLUGINS": "*"})


def test_a_task_of_ours_that_is_only_declared_has_its_keys_and_no_run(minimal, monkeypatch):
    later = Entry("later", "ultra-train", "0", "module:Sectioned", Sectioned)
    monkeypatch.setattr(untrainable, "entries", lambda: [later])
    with pytest.raises(ConfigError, match="unknown task 'later'"):
        from_source(parse_source(minimal, ["training.task=later", "training.well={depth: 2}"]), "p")
