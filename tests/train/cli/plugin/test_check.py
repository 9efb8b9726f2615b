"""plugin check: the conformance kit as a plugin author sees it."""

import os
import subprocess
import sys

import attrs
import pytest

from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_core import norms
from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import Entry
from ultra_core.testing import Rule
from ultra_train.cli.plugin.kits import CASES, find, trials_of


def test_a_norm_that_keeps_its_promises(ultra):
    result = ultra("plugin", "check", "norms:rms_norm", "--quick")
    assert result.exit_code == 0, result.output
    *_, time, summary = result.output.splitlines()
    assert summary.startswith("rms_norm: ")
    assert summary.endswith(" kept, 0 broken")
    assert time.endswith(" s of processor time, start included")
    (line,) = [line for line in result.output.splitlines() if line.startswith("kept    C1 ")]
    assert "(mixer, ffn, final, embedding, head): " in line
    assert all(len(line) <= 100 for line in result.output.splitlines())


class MixesTokens(RMSNorm):
    """Looks at the batch."""

    def forward(self, x):
        """Add the mean of the batch."""
        return super().forward(x) + x.mean()


@pytest.fixture
def mixes_tokens(monkeypatch):
    monkeypatch.setattr(norms, "_added", [])
    norms.add("mixes_tokens", MixesTokens)


def test_a_norm_that_breaks_them(ultra, mixes_tokens):
    result = ultra("plugin", "check", "mixes_tokens", "--rule", "N1", "--rule", "C1")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("broken  N1 (mixer): A norm acts on the last dimension only")
    assert lines[-1] == "mixes_tokens: 5 kept, 5 broken"
    # what was seen is the same at each place, and said once
    assert lines.count("broken  N1 (head): the same") == 1
    assert sum(line.startswith("        seen: ") for line in lines) == 1


def test_a_rule_that_is_asked_for_is_tried_whatever_the_effort():
    (trial,) = trials_of("schedules", "wsd", rules=["S7"], effort="quick")
    assert trial.effort == "quick"
    assert "S7" not in {trial.rule.id for trial in trials_of("schedules", "wsd", effort="quick")}


def test_options_and_width_of_the_plugin_under_test(ultra):
    case = trials_of("blocks", "standard_attn", options={"num_heads": 4}, width=32)[0].case
    assert case.arguments()["num_heads"] == 4
    assert case.arguments()["hidden_size"] == 32
    result = ultra("plugin", "check", "wsd", "--set", "shape=linear", "--set", "decay_ratio=0.5", "--quick")
    assert result.exit_code == 0, result.output
    result = ultra("plugin", "check", "lion", "--set", "betas=[0.8, 0.9]", "--rule", "C1")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("retnte",), "nothing installed is called 'retnte'. Did you mean 'retnet'?"),
        (("mini",), "write one of models:mini, presets:mini"),
        (("cosine", "--rule", "S11"), "no rule 'S11' applies to cosine. Did you mean 'S1'"),
        (("wsd", "--set", "decay=1"), "wsd has no option 'decay'. Did you mean 'decay_ratio'?"),
        (("wsd", "--set", "shape=flat"), "expected one of 'sqrt', 'linear', 'cosine'"),
        (("wsd", "--set", "shape"), "shape"),
        (("wsd", "--width", "8"), "wsd is checked without a width; leave out --width"),
        (("mlm", "--set", "a=1"), "mlm is checked without options; leave out --set"),
        (("hook:diary",), "nothing installed is called 'diary'"),
    ],
)
def test_what_cannot_be_checked(ultra, arguments, why):
    result = ultra("plugin", "check", *arguments)
    assert result.exit_code == 2
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("before", "then"), [(None, "1"), ("3", "3")])
def test_a_check_runs_on_one_thread_unless_told_otherwise(ultra, monkeypatch, before, then):
    monkeypatch.setenv("OMP_NUM_THREADS", before or "")
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    assert ultra("plugin", "check", "wsd", "--rule", "C1").exit_code == 0
    assert os.environ["OMP_NUM_THREADS"] == then


def test_a_package_here_that_is_not_installed(ultra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ultra("plugin", "new", "second_wind", "--kind", "norm").exit_code == 0
    result = ultra("plugin", "check", "second_wind")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: 'second_wind' is not installed; the package in ./second-wind offers it: "
        "pip install -e './second-wind[testing]'\n"
    )


def test_every_kind_is_found(monkeypatch):
    diary = Entry("diary", "third-party", "1", "some_module")
    monkeypatch.setattr("ultra_train.cli.plugin.kits.plugin_entries", lambda: (diary,))
    names = {
        "blocks": "retnet",
        "norms": "rms_norm",
        "ffns": "moe",
        "positions": "rope",
        "optimizers": "lion",
        "schedules": "wsd",
        "models": "models:mini",
        "tasks": "mlm",
        "presets": "preset:mini",
        "hooks": "diary",
    }
    assert list(names) == list(CASES)
    for kind, name in names.items():
        assert find(name) == (kind, name.rpartition(":")[2])
        assert find(f"{kind}:{name.rpartition(':')[2]}")[0] == kind
    assert find("swiglu") == ("ffns", "glu")
    assert find("ultra-blocks:retnet") == ("blocks", "ultra-blocks:retnet")
    with pytest.raises(PluginError, match="nothing installed"):
        find("hook:retnet")


def test_an_interrupted_check_says_how_far_it_came(ultra, monkeypatch):
    def interrupt(case):
        raise KeyboardInterrupt

    trials = trials_of("schedules", "wsd")
    trials[4] = attrs.evolve(trials[4], rule=Rule("S0", interrupt))
    monkeypatch.setattr("ultra_train.cli.plugin.check.trials_of", lambda *_, **__: trials)
    result = ultra("plugin", "check", "wsd")
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == "wsd: 4 kept, 0 broken"
    assert result.stderr == f"interrupted after 4 of {len(trials)} trials\n"


def test_the_help_imports_no_torch():
    code = (
        "import sys\nfrom ultra_train.cli import main\n"
        "assert main(['plugin', 'check', '--help']) == main(['plugin', 'new', '--help']) == 0\n"
        "assert not {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--rule ID" in done.stdout
