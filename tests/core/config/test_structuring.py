import string
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.yaml_trees import trees
from ultra_core.config import (
    collect,
    dump,
    from_tree,
    parse_source,
    raise_faults,
    structure,
    unstructure,
)
from ultra_core.contracts import Range
from ultra_core.errors import ConfigError

Count = Annotated[int, Range(min=1)]


@attrs.frozen
class Optimizer:
    optimizer_class: str
    parameters: dict[str, Any] = attrs.Factory(dict)


@attrs.frozen
class Training:
    batch_size: Count = 4
    use_amp: bool = False
    lr: Annotated[float, Range(gt=0)] | None = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    scheduler_type: Literal["cosine", "constant"] = "cosine"
    optimizer: Optimizer | None = None
    layer_pattern: tuple[str | dict[str, dict[str, Any] | None], ...] = ("standard_attn",)
    dataset: str | Optimizer | tuple[str | Optimizer, ...] | None = None
    weights: Mapping[str, Count] = attrs.Factory(dict)
    columns: Sequence[str] = ()
    callback: str | Callable[[int], int] = "none"
    names: list[str] = attrs.Factory(list)
    steps: int = attrs.field(default=10, validator=attrs.validators.le(100))
    free: Any = None

    def __attrs_post_init__(self) -> None:
        if self.batch_size == 13:
            raise ValueError("batch_size 13 brings bad luck")


@attrs.frozen
class Preset:
    training: Training
    base_model: str = "none"


GOOD = """\
training:
  batch_size: 8
  use_amp: true
  lr: 1e-6
  betas: [1, .5]
  scheduler_type: constant
  optimizer: {optimizer_class: muon, parameters: {muon-lr: 2e-2, "muon-nested": {a: [1, null]}}}
  layer_pattern: [retnet, {mamba: {state_size: 64}}, {nope: null}]
  dataset: [a.txt, {optimizer_class: x}]
  weights: {a: 1}
  columns: [x]
  names: [ñ]
  free: {anything: [goes]}
base_model: "1e5"
"""


def read(text, *overrides):
    return structure(parse_source(text, overrides), Preset)


def faults(text, *overrides):
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return {fault.key: fault for fault in caught.value.faults}


def test_a_good_preset():
    preset = read(GOOD)
    training = preset.training
    assert preset.base_model == "1e5"
    assert training.batch_size == 8
    assert training.lr == 1e-6
    assert training.betas == (1.0, 0.5)
    assert all(type(beta) is float for beta in training.betas)
    assert training.optimizer == Optimizer("muon", {"muon-lr": 0.02, "muon-nested": {"a": [1, None]}})
    assert training.layer_pattern == ("retnet", {"mamba": {"state_size": 64}}, {"nope": None})
    assert training.dataset == ("a.txt", Optimizer("x"))
    assert training.names == ["ñ"]
    assert read("training: {}") == Preset(Training())


WRONG = [
    ("batch_size", '"8"', "expected a whole number >= 1, found the string '8'"),
    ("batch_size", "2.7", "expected a whole number >= 1, found 2.7"),
    ("batch_size", "8.0", "expected a whole number >= 1, found 8.0"),
    ("batch_size", "true", "expected a whole number >= 1, found true"),
    ("batch_size", "0", "expected a number >= 1, found 0"),
    ("batch_size", "", "expected a whole number >= 1, found nothing (null)"),
    ("batch_size", "[1]", "expected a whole number >= 1, found a list of 1"),
    ("use_amp", '"false"', "expected true or false, found the string 'false'"),
    ("use_amp", "1", "expected true or false, found 1"),
    ("use_amp", "no", "expected true or false, found the string 'no'"),
    ("lr", "-1", "expected a number > 0, found -1"),
    ("lr", '"1e-6"', "expected a number > 0 or null, found the string '1e-6'"),
    ("betas", "[1]", "expected a list of 2 values (a number, a number), found a list of 1"),
    ("betas", "0.9", "expected a list of 2 values (a number, a number), found 0.9"),
    ("scheduler_type", "cosin", "'constant', found the string 'cosin'. Did you mean 'cosine'?"),
    ("scheduler_type", "3", "expected one of 'cosine', 'constant', found 3"),
    ("optimizer", "muon", "expected a mapping or null, found the string 'muon'"),
    ("optimizer", "[]", "expected a mapping or null, found an empty list"),
    ("names", "abc", "expected a list, each item a string, found the string 'abc'"),
    ("names", "{a: 1}", "expected a list, each item a string, found a mapping of 1"),
    ("weights", "[a]", "expected a mapping, each value a whole number >= 1, found a list of 1"),
    ("callback", "3", "expected a string, found 3"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_nothing_is_coerced(key, value, message):
    fault = faults(f"training:\n  {key}: {value}\n")[f"training.{key}"]
    assert fault.line == 2
    assert message in fault.message


INSIDE = [
    ("betas: [1, x]", "betas[1]", (2, 14), "expected a number, found the string 'x'"),
    ("names: [a, 1, true]", "names[2]", (2, 17), "expected a string, found true"),
    ("weights: {a: 1, b: 0}", "weights.b", (2, 22), "expected a number >= 1, found 0"),
    ("layer_pattern: [a, {b: {c: 1}}, {d: 1}]", "layer_pattern[2].d", (2, 39), "a mapping or null, found 1"),
    ("optimizer: {optimizer_class: 1}", "optimizer.optimizer_class", (2, 32), "expected a string, found 1"),
    ("optimizer: {}", "optimizer.optimizer_class", (2, 3), "required and is missing"),
    ("dataset: [a, {optimizer_clas: x}]", "dataset[1].optimizer_clas", (2, 17), "mean 'optimizer_class'"),
    ("batch_sise: 8", "batch_sise", (2, 3), "unknown key. Did you mean 'batch_size'?"),
    ("zzz: 8", "zzz", (2, 3), "unknown key. The keys here: batch_size, use_amp"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "key", "position", "message"), INSIDE)
def test_a_fault_stands_where_it_is(line, key, position, message):
    fault = faults(f"training:\n  {line}\n")[f"training.{key}"]
    assert (fault.line, fault.column) == position
    assert message in fault.message


def test_all_faults_come_at_once_in_the_order_of_the_file():
    text = (
        "training:\n  batch_size: 0\n  use_amp: 1\n  lrr: 1\n  use_amp: true\n  optimizer: {x: 1}\n"
        "  names: [1, 2]\nbase_model: !x 3\nmore: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        read(text, "training.lr=-1", "training.x.y=2")
    where = [(f.file, f.line, f.key) for f in caught.value.faults]
    assert where == [
        ("<text>", 2, "training.batch_size"),
        ("<text>", 4, "training.lrr"),
        ("<text>", 5, "training.use_amp"),
        ("<text>", 6, "training.optimizer.optimizer_class"),
        ("<text>", 6, "training.optimizer.x"),
        ("<text>", 7, "training.names[0]"),
        ("<text>", 7, "training.names[1]"),
        ("<text>", 8, "base_model"),
        ("<text>", 9, "more"),
        ("--set training.lr", 1, "training.lr"),
        ("--set training.x.y", 1, "training.x"),
    ]
    assert str(caught.value).count("\n") == len(where) - 1


def test_missing_and_rejected_sections():
    assert faults("base_model: x")["training"].message == "this key is required and is missing"
    assert "expected a mapping with the keys" in faults("training: 3\n")["training"].message
    assert "'steps' must be <= 100" in faults("training: {steps: 101}")["training"].message
    assert "bad luck" in faults("training: {batch_size: 13}")["training"].message
    with pytest.raises(ConfigError, match=r"a\.yaml:1:1: is empty"):
        parse_source("", file="a.yaml")


def test_sections_are_structured_apart_and_reported_together():
    source = parse_source("training: {batch_size: 0, use_amp: true, use_amp: false}\nbase_model: 3\n")
    value, found = collect(source, Training, ("training",))
    assert value is None
    assert [fault.key for fault in found] == ["training.batch_size"]
    assert collect(source, Optimizer, ("absent",))[1][0].key == "absent.optimizer_class"
    good, nothing = collect(parse_source("training: {lr: 1}"), Training, ("training",))
    assert good == Training(lr=1.0)
    assert nothing == []
    found.append(source.fault(("base_model",), "no such model"))
    with pytest.raises(ConfigError) as caught:
        raise_faults(source, found)
    assert [fault.key for fault in caught.value.faults] == [
        "training.batch_size",
        "training.use_amp",
        "base_model",
    ]
    raise_faults(parse_source("a: 1"))


def test_a_mapping_from_python_is_structured_alike():
    source = from_tree({"training": {"betas": (1, 2.0), "batch_size": 0}}, file="<run>")
    with pytest.raises(ConfigError, match=r"<run>:1:1: training.batch_size: expected a number >= 1"):
        structure(source, Preset)
    assert structure(from_tree({"training": {"betas": (1, 2)}}), Preset).training.betas == (1.0, 2.0)
    with pytest.raises(ConfigError, match="too large"):
        structure(from_tree({"training": {"lr": 10**400}}), Preset)


def test_every_default_is_written_out_and_read_back():
    preset = read(GOOD)
    plain = unstructure(preset)
    assert plain["training"]["betas"] == [1.0, 0.5]
    assert plain["training"]["steps"] == 10
    assert read(dump(plain)) == preset
    assert list(plain["training"]) == [field.name for field in attrs.fields(Training)]


def outcome(data, overrides=()):
    """Read anything: a preset, or an error whose faults all have a place."""
    try:
        return structure(parse_source(data, overrides), Preset)
    except ConfigError as error:
        faults = error.faults
    assert faults
    for fault in faults:
        assert fault.line >= 1
        assert fault.column >= 1
        assert fault.message
        assert str(fault)
    return None


LINES = GOOD.splitlines(keepends=True)
snippets = st.sampled_from("\t{}[]'\"|>%#@,`\\\r\0\ufeff\u2028\x85") | st.sampled_from(
    ["&a ", "*a ", "!!x ", "!<", "<<: ", "- ", "? ", ": ", "---\n", "...\n", "null", "1e999"]
)


@given(st.lists(st.tuples(st.integers(0, len(GOOD)), snippets | st.text(max_size=3)), max_size=4))
def test_text_put_anywhere_gives_a_preset_or_faults_with_positions(insertions):
    text = GOOD
    for index, snippet in insertions:
        text = text[:index] + snippet + text[index:]
    outcome(text)


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD.encode()) - 1), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_corrupt_bytes_give_a_preset_or_faults_with_positions(corruptions):
    data = bytearray(GOOD.encode())
    for index, byte in corruptions:
        data[index] = byte
    outcome(bytes(data))


@given(st.lists(st.sampled_from(range(len(LINES))), max_size=20), st.integers(0, 3))
def test_lines_dropped_repeated_and_moved(order, indent):
    outcome("".join(" " * indent * (i % 2) + LINES[i] for i in order))


@given(st.binary(max_size=60))
def test_any_bytes(data):
    outcome(data)


@given(st.text(string.printable, max_size=60))
def test_any_text_and_any_override(text):
    outcome(text)
    outcome(GOOD, [text])
    outcome(GOOD, [f"training.{text}"])


@given(st.sampled_from([f.name for f in attrs.fields(Training)]), trees)
def test_any_value_for_any_key(key, value):
    outcome(dump({"training": {key: value}}))
    outcome(dump({"training": {"optimizer": {"optimizer_class": value, str(key): value}}}))
