import pytest

from ultra_core.config import from_tree, load_source, parse_source
from ultra_core.errors import ConfigError


def test_a_file_is_read_under_the_name_that_the_user_gave(tmp_path):
    file = tmp_path / "preset.yaml"
    file.write_text("a: {b: 1}\n")
    source = load_source(file, ["a.c=2", "d=[x]"])
    assert source.file == str(file)
    assert source.tree == {"a": {"b": 1, "c": 2}, "d": ["x"]}
    assert source.fault(("a", "b"), "wrong").file == str(file)
    assert source.fault(("a", "c"), "wrong").file == "--set a.c"


def test_a_missing_file_is_a_fault_of_that_file(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml:1:1: no such file"):
        load_source(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p\.yaml:1:1: is empty; expected a mapping of keys to values"),
        ("\n- a\n", r"p\.yaml:2:1: expected a mapping of keys to values, found a list of 1"),
    ],
)
def test_what_is_no_mapping_is_an_error(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_source(text, file="p.yaml")


def test_faults_that_leave_the_rest_readable_are_stored_in_order():
    source = parse_source("a: 1\na: 2\nb: .inf\n", ["b.c=1", "d=!x 1"])
    assert [(fault.file, fault.key) for fault in source.faults] == [
        ("<text>", "a"),
        ("<text>", "b"),
        ("--set d", "d"),
    ]
    assert source.tree == {"a": 2, "b": {"c": 1}, "d": "1"}


def test_a_mapping_from_python_has_one_position():
    tree = {"a": {"b": (1, 2.0)}, 3: [None]}
    source = from_tree(tree, file="<run>")
    assert source.tree == {"a": {"b": [1, 2.0]}, "3": [None]}
    assert str(source.fault(("a", "b", 1), "wrong")) == "<run>:1:1: a.b[1]: wrong"
