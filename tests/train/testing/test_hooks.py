"""The kit finds the fault of every hook plugin by the rule of its row, and none in those without a fault."""

import pytest
from train.testing.hook_mutants import MUTANTS, SOUND

from ultra_core.errors import UnknownNameError
from ultra_core.plugins.metadata import Entry
from ultra_core.testing import RuleBroken
from ultra_train.testing import RULES, HookCase, hook_cases, trials


def case_of(plugin):
    return HookCase(Entry("mutant", "third-party", "1", "some_module", plugin))


@pytest.mark.parametrize(("rule", "plugin"), MUTANTS)
def test_every_fault_is_found(rule, plugin):
    with pytest.raises(RuleBroken, match=f"mutant breaks rule {rule}: ") as broken:
        RULES[HookCase].named(rule)(case_of(plugin))
    assert broken.value.fix


@pytest.mark.parametrize("plugin", SOUND)
def test_those_without_a_fault_keep_every_rule(plugin):
    chosen = trials([case_of(plugin)])
    assert len(chosen) == len(RULES[HookCase])
    for trial in chosen:
        trial()


def test_a_module_that_is_not_there_is_found():
    case = HookCase(Entry("lost", "third-party", "1", "no_such_module"))
    with pytest.raises(RuleBroken, match="breaks rule C1"):
        RULES[HookCase].named("C1")(case)


def test_an_unknown_name_suggests_the_right_one(monkeypatch):
    entry = Entry("diary", "third-party", "1", "some_module")
    monkeypatch.setattr("ultra_train.testing.kit.plugin_entries", lambda: (entry,))
    assert next(hook_cases(["diary"])).entry is entry
    with pytest.raises(UnknownNameError, match="Did you mean 'diary'"):
        list(hook_cases(["dairy"]))
