import pytest

from ultra_core.config import load_source, parse_source, raise_faults
from ultra_core.errors import ConfigError

TEXT = "training:\n  batch_size: 4\n  names: [a, {b: 1}]\n  optimizer:\nshared: &s {x: 1}\nalias: *s\n"


def tree(*overrides):
    source = parse_source(TEXT, overrides)
    raise_faults(source)
    return source.tree


def test_values_are_yaml():
    changed = tree(
        "training.batch_size=8", "training.lr=1e-6", "training.flag=true", "name='7'", "x=", "y=a=b"
    )
    assert changed["training"]["batch_size"] == 8
    assert changed["training"]["lr"] == 1e-6
    assert changed["training"]["flag"] is True
    assert (changed["name"], changed["x"], changed["y"]) == ("7", None, "a=b")


def test_collections_sections_and_items():
    changed = tree(
        "training.names=[c, {d: {e: 2}}]", "training.names.1.d.e=3",
        "training.optimizer.optimizer_class=muon", "new.deep.section=1", "training.names.0=z",
    )  # fmt: skip
    assert changed["training"]["names"] == ["z", {"d": {"e": 3}}]
    assert changed["training"]["optimizer"] == {"optimizer_class": "muon"}
    assert changed["new"] == {"deep": {"section": 1}}


def test_the_last_one_wins_and_an_alias_keeps_to_itself():
    changed = tree("training.batch_size=8", "training.batch_size=9", "alias.x=2")
    assert changed["training"]["batch_size"] == 9
    assert changed["alias"] == {"x": 2}
    assert changed["shared"] == {"x": 1}


def test_faults_stand_at_the_override():
    source = parse_source(TEXT, ["training.batch_size=eight", "training.batches=1"])
    fault = source.fault(("training", "batch_size"), "expected a whole number")
    assert str(fault) == "--set training.batch_size: training.batch_size: expected a whole number"
    assert source.fault(("training", "batches"), "unknown key", key=True).file == "--set training.batches"
    assert source.fault(("training", "names"), "wrong").file == "<text>"


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("training", (), "expected KEY=VALUE"),
        ("=1", (), "expected KEY=VALUE"),
        ("a..b=1", (), "expected KEY=VALUE"),
        (".=1", (), "expected KEY=VALUE"),
        ("a." * 60 + "b=1", (), "expected KEY=VALUE"),
        ("a=[1, 2", ("a",), "not valid YAML"),
        ("a.b={x: 1, x: 2}", ("a", "b", "x"), "duplicate"),
        ("a=.nan", ("a",), "finite"),
        ("a=\x00", ("a",), "U+0000"),
        ("training.names.7=1", ("training", "names"), "not one of its positions"),
        ("training.names.x=1", ("training", "names"), "not one of its positions"),
        ("training.names.-1=1", ("training", "names"), "not one of its positions"),
        ("training.names." + "9" * 5000 + "=1", ("training", "names"), "not one of its positions"),
        ("training.batch_size.x.y=1", ("training", "batch_size"), "'x.y' cannot be set in it"),
    ],
)
def test_what_does_not_fit_is_reported_with_the_rest(override, path, message):
    source = parse_source(TEXT, [override, "training.batch_size=8"])
    (fault,) = source.faults
    assert fault.file.startswith("--set ")
    assert fault.path == path
    assert message in fault.message
    assert source.get(("training", "batch_size")) == 8
    with pytest.raises(ConfigError, match="--set"):
        raise_faults(source)


def test_overrides_of_a_file(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(TEXT)
    assert load_source(file, ["training.batch_size=8"]).get(("training", "batch_size")) == 8
