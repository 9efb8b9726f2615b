from ultra_core.config import Source, parse_source
from ultra_train.pipeline.merging import merged, placed, removed, without

UNDER = """\
model: {hidden_size: 16, layer_pattern: [gla]}
training:
  seed: 1
  optimizer: {optimizer_class: muon, parameters: {muon-lr: 0.1}}
"""
OVER = """\
training:
  seed: 2
  optimizer: {parameters: {muon-wd: 0.2}}
model:
  layer_pattern: [ode, mamba]
"""


def tree(under, over):
    made = merged(parse_source(under, file="under").root, parse_source(over, file="over").root)
    return Source("over", made, [])


def test_mappings_are_united_and_other_values_replaced():
    made = tree(UNDER, OVER)
    assert made.tree == {
        "model": {"hidden_size": 16, "layer_pattern": ["ode", "mamba"]},
        "training": {
            "seed": 2,
            "optimizer": {"optimizer_class": "muon", "parameters": {"muon-lr": 0.1, "muon-wd": 0.2}},
        },
    }


def test_every_value_keeps_its_place():
    made = tree(UNDER, OVER)
    assert str(made.fault(("model", "hidden_size"), "bad")) == "under:1:22: model.hidden_size: bad"
    assert str(made.fault(("training", "seed"), "bad")) == "over:2:9: training.seed: bad"
    assert str(made.fault(("training", "seed"), "bad", key=True)).startswith("over:2:3: ")


def test_another_optimizer_takes_no_parameters_of_the_first():
    made = tree(UNDER, "training: {optimizer: {optimizer_class: lion}}")
    assert made.tree["training"] == {"seed": 1, "optimizer": {"optimizer_class": "lion"}}


def test_a_value_is_placed_in_a_copy_and_removed_from_plain_data():
    root = parse_source(UNDER).root
    made = placed(root, ("model", "base_model"), "there", root).plain()
    assert made["model"]["base_model"] == "there"
    assert "base_model" not in root.plain()["model"]
    assert removed(made, ("model", "base_model")) == root.plain()
    assert without(root, "model", "nothing").plain() == {"training": root.plain()["training"]}
