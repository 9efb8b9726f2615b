"""Settings that differ: which keys are shown, and how many presets a table holds."""

import attrs
import pytest

from ultra_train.config import load_preset
from ultra_train.report.differences import differences_table, differing_settings

PARAMETERS = "training.optimizer.parameters"


@pytest.fixture(scope="module")
def own(tiny_preset):
    return load_preset(tiny_preset)


def changed(preset, **keys):
    return attrs.evolve(preset, training=attrs.evolve(preset.training, **keys))


def test_parameters_of_different_optimizers_are_one_setting(tiny_preset, own):
    other = load_preset(
        tiny_preset, ["training.optimizer={optimizer_class: lion, parameters: {lion-lr: 1e-3}}"]
    )
    assert differing_settings([own, other, None]) == {
        "training.optimizer.optimizer_class": ["muon", "lion", "–"],
        f"{PARAMETERS}.lr": ["0.01", "0.001", "–"],
        f"{PARAMETERS}.lr_norms": ["0.001", "–", "–"],
    }
    bare = load_preset(tiny_preset, ["training.optimizer={optimizer_class: muon}"])
    assert list(differing_settings([own, bare])) == [f"{PARAMETERS}.lr", f"{PARAMETERS}.lr_norms"]


def test_a_missing_section_is_not_told_key_by_key(own):
    continued = load_preset("es_mlm_beto_adamw")
    found = differing_settings([own, own, continued])
    assert not [key for key in found if key.startswith("model.")]
    assert found["base_model"] == ["–", "–", "dccuchile/bert-base-spanish-wwm-cased"]
    model = attrs.evolve(own.model, num_layers=3)
    found = differing_settings([own, attrs.evolve(own, model=model), continued])
    assert [key for key in found if key.startswith("model.")] == ["model.num_layers"]


def test_many_presets_have_a_list_each_of_what_most_of_them_do_not_share(own):
    presets = [own, *(changed(own, batch_size=size, seed=3) for size in (2, 2, 2, 8))]
    presets[1] = changed(own, grad_clip_max_norm=0.5)
    table = differences_table(["a", "b", "c", "d", "<e>"], presets)
    most, *lists = table.split("<dt>")[1:]
    assert most.startswith("most of them</dt>")
    assert "<code>training</code><span>batch_size <b>2</b></span>" in most
    assert [text.count("<span>") for text in lists] == [0, 1, 0, 0, 1]
    assert "grad_clip_max_norm <b>0.5</b>" in lists[1]
    assert lists[-1].startswith("&lt;e&gt;</dt>")
    assert "batch_size <b>8</b>" in lists[-1]


def test_equal_presets_have_no_table(own):
    assert differences_table(["a", "b"], [own, own]) == ""
