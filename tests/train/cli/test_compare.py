"""``ultra-train compare``: what is compared, and what is refused before torch is imported."""

import pytest

from ultra_core.errors import UltraError
from ultra_train.cli.compare import chosen


def test_presets_of_a_guide_join_those_that_are_named():
    assert chosen(("my.yaml",), None) == ["my.yaml"]
    beto = "es_mlm_beto_adamw"
    assert beto in chosen((), "best_first_run")
    joined = chosen(("my.yaml", beto), "best_first_run")
    assert joined[:2] == ["my.yaml", beto]
    assert joined.count(beto) == 1
    assert len(chosen((), "optimizer_benchmark")) == 19


@pytest.mark.parametrize(
    ("guide", "said"),
    [
        (None, "name the presets"),
        ("optimizr_benchmark", "has the guide 'optimizr_benchmark'. Did you mean 'optimizer_benchmark'"),
        ("shortest", "no installed preset has the guide 'shortest'. There are: best_first_run, "),
    ],
)
def test_nothing_to_compare_is_refused(guide, said):
    with pytest.raises(UltraError, match=said):
        chosen((), guide)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "--steps 0 is no budget"),
        (["--steps", "1", "--tokens", "1"], "two budgets"),
        (["--lr", "1", "--lr-factors", "1"], "two sweeps"),
        (["--vary", "training.batch_size="], "--vary training.batch_size, column 21"),
        (["--seeds", "one"], "--seeds, column 1"),
    ],
)
def test_bad_options_are_told(ultra, arguments, said):
    result = ultra("compare", "quickstart", *arguments)
    assert result.exit_code == 2
    assert said in result.output
