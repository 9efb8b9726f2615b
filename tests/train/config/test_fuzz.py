"""Whatever is done to a valid preset, it loads or is refused with places: never another exception."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra_core import presets
from ultra_core.config import ConfigError, dump, load_source, parse_source
from ultra_train.config import from_source, to_yaml

NAMES = ("quickstart", "frankenstein", "mini")

SPARSE = {
    "model": {"base_model": "x/y", "architecture": "csr", "csr_k": 8},
    "loss": {"type": "csr_loss"},
    "datasets": {"sampling_strategy": "round_robin", "nli": {"source": "x/nli", "languages": ["nb"]}},
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**19),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "retnet", "1e-6", "~", "adamw", "ultra-blocks:retnet", "a:b", "{}", "mlm"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def outcome(data: str | bytes) -> None:
    """Load; on success the canonical form must load to the same, on failure every fault must have a place."""
    preset, faults = None, ()
    try:
        preset = from_source(parse_source(data, file="fuzz.yaml"), "fuzz")
    except ConfigError as error:
        faults = error.faults
    assert (preset is None) == bool(faults)
    assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in faults)
    if preset is not None:
        assert from_source(parse_source(to_yaml(preset)), "fuzz") == preset


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = [path] if path else []
    for key, value in items:
        found += places(value, (*path, key))
    return found


def trees() -> list[dict[str, Any]]:
    return [load_source(presets.get(name)).tree for name in NAMES] + [SPARSE]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid preset in which one to three keys were dropped, renamed, replaced, nested or moved."""
    tree = draw(st.sampled_from(trees()))
    tree = parse_source(dump(tree)).tree
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree) or [("x",)]))
        parent: Any = tree
        for part in path[:-1]:
            parent = parent[part]
        last = path[-1]
        if not isinstance(parent, (dict, list)) or (isinstance(parent, dict) and last not in parent):
            continue
        match draw(st.sampled_from(["drop", "rename", "replace", "nest", "copy"])):
            case "drop":
                del parent[last]
            case "rename" if isinstance(parent, dict):
                parent[f"{last}{draw(st.sampled_from(['s', '_', 'x']))}"] = parent.pop(last)
            case "replace":
                parent[last] = draw(VALUES)
            case "nest":
                parent[last] = draw(st.sampled_from([{str(last): parent[last]}, [parent[last]]]))
            case _:
                tree[str(last)] = parent[last]
    return tree


@given(mutated())
def test_mutated_trees(tree):
    outcome(dump(tree))


@given(st.data())
def test_mutated_lines(data):
    """Lines are dropped, doubled, swapped or indented."""
    lines = presets.get(data.draw(st.sampled_from(NAMES))).read_text(encoding="utf-8").splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "double", "indent", "swap"])):
            case "drop":
                del lines[i]
            case "double":
                lines.insert(i, lines[i])
            case "indent":
                lines[i] = " " * data.draw(st.integers(1, 3)) + lines[i]
            case _:
                lines[i - 1], lines[i] = lines[i], lines[i - 1]
    outcome("\n".join(lines))


@given(st.data())
def test_corrupt_bytes(data):
    content = bytearray(presets.get(data.draw(st.sampled_from(NAMES))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(content) - 1))
        content[i : i + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    outcome(bytes(content))


@given(
    key=st.sampled_from(["training.batch_size", "model", "model.layer_pattern.0", "training", "x.y"]),
    value=VALUES,
)
def test_overrides(key, value):
    override = f"{key}={dump({'v': value})[2:].strip()}"
    with contextlib.suppress(ConfigError):
        from_source(load_source(presets.get("quickstart"), [override]), "fuzz")


@pytest.mark.parametrize(
    "text", ["a", "[]", "1", "---\n---\n", "&a {b: *a}", "? [x]\n: y", "!!python/name:os.system x"]
)
def test_yaml_that_is_no_preset(text):
    outcome(text)
