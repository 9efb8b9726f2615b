"""The kit finds the fault of every task by the rule of its row, and none in the task of the template."""

import sys

import pytest
from train.testing.sound_task import FOLDER, PluginName
from train.testing.task_mutants import MUTANTS

from ultra_core import tasks
from ultra_core.plugins.metadata import Entry
from ultra_core.testing import RuleBroken
from ultra_train.testing import RULES, TaskCase, task_cases, trials

TASK_RULES = RULES[TaskCase]


@pytest.fixture
def registered(monkeypatch):
    """Register a task and return its case."""
    monkeypatch.setattr(tasks, "_added", [])

    def register(plugin: object) -> TaskCase:
        tasks.add("mutant", plugin)
        (case,) = task_cases(["mutant"])
        return case

    return register


@pytest.mark.parametrize(("rule", "plugin"), MUTANTS, ids=lambda value: getattr(value, "__name__", None))
def test_every_fault_is_found(registered, rule, plugin):
    with pytest.raises(RuleBroken, match=f"mutant breaks rule {rule}: ") as broken:
        TASK_RULES.named(rule)(registered(plugin))
    assert broken.value.seen
    assert broken.value.fix


def test_the_task_of_the_template_keeps_every_rule(registered):
    chosen = trials([registered(PluginName)])
    assert [trial.rule.id for trial in chosen] == list(TASK_RULES)
    for trial in chosen:
        assert not trial.obstacle
        trial()


def test_a_declaration_that_imports_torch_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    code = "import torch\nfrom plugin_name.task import PluginName as Heavy\n"
    (tmp_path / "heavy_task.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    case = TaskCase(Entry("heavy", "third-party", "1", "heavy_task:Heavy"))
    with pytest.raises(RuleBroken, match="importing heavy_task imports torch"):
        TASK_RULES.named("T1")(case)
    assert "heavy_task" not in sys.modules


def test_what_the_preset_of_the_kit_does_not_fit_is_not_tried(registered):
    reads_pairs = type("ReadsPairs", (PluginName,), {"reads_dataset": False})
    obstacles = {trial.rule.id: trial.obstacle for trial in trials([registered(reads_pairs)])}
    assert obstacles["T7"] == obstacles["T9"] == "it reads other data than plain texts"
    assert not obstacles["T6"]


OURS = [trial for trial in trials(task_cases()) if not trial.obstacle]


@pytest.mark.parametrize("trial", OURS, ids=lambda trial: trial.label.replace(" ", "-"))
def test_ours_keep_every_rule(trial):
    trial()
