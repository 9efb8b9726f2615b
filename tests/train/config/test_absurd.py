"""Absurd presets: what is said stays short, and work does not grow with the square of what is wrong."""

import pytest

from ultra_blocks.config.validation import MAX_PATTERN
from ultra_core import errors
from ultra_core.config import ConfigError, parse_source
from ultra_core.plugins.registry import Registry
from ultra_train.config import from_source
from ultra_train.config.data import MOST_SOURCES

SIZE = 12_000


def listing(names):
    return "[" + ", ".join(names) + "]"


CASES = {
    "duplicates": "a: 1\n" * SIZE,
    "unknown keys": "".join(f"training_{i}: 1\n" for i in range(SIZE)),
    "keys like ours": "training:\n  lr_other: 1\n" + "".join(f"  batch_size{i}: 1\n" for i in range(SIZE)),
    "parameters": "base_model: a/b\ntokenizer: {name_or_path: a/b}\ntraining:\n  optimizer:\n"
    "    optimizer_class: lion\n    parameters:\n" + "".join(f"      lion-lrr{i}: 1\n" for i in range(SIZE)),
    "blocks": f"model_class: frankenstein\nmodel:\n  layer_pattern: "
    f"{listing(f'standard_atn{i}' for i in range(MAX_PATTERN))}\ntraining: {{lr_other: 1}}\n",
    "choices": f"meta: {{guides: {listing(f'best_first_ru{i}' for i in range(SIZE))}}}\ntraining: {{}}\n",
    "items": f"training: {{lr_other: 1, dataset: {listing('3' for _ in range(SIZE))}}}\nmodel_class: mini\n",
    "data sets": "model: {base_model: a/b, architecture: csr}\nloss: {type: csr_loss}\ndatasets:\n"
    + "".join(f"  d{i}: {{sourc: x}}\n" for i in range(SIZE)),
}


@pytest.mark.parametrize("name", CASES)
def test_at_most_fifty_faults_are_listed_and_few_names_compared(name, monkeypatch):
    compared, looked_up = [], []
    close, entry = errors.get_close_matches, Registry.entry
    monkeypatch.setattr(errors, "get_close_matches", lambda *a, **k: compared.append(a) or close(*a, **k))
    monkeypatch.setattr(Registry, "entry", lambda self, n: looked_up.append(n) or entry(self, n))
    errors.closest.cache_clear()
    with pytest.raises(ConfigError) as caught:
        from_source(parse_source(CASES[name]), "absurd")
    lines = str(caught.value).splitlines()
    assert len(lines) <= errors.LISTED + 1
    assert max(map(len, lines)) < 2000
    assert lines[-1].startswith("and ")
    assert lines[-1].endswith(" more")
    assert len(compared) < 1000
    assert len(looked_up) < 1000


def test_the_rest_is_counted():
    with pytest.raises(ConfigError) as caught:
        from_source(parse_source("a: 1\n" * 90_000), "absurd")
    faults = caught.value.faults
    assert len(faults) >= 89_999
    assert str(caught.value).splitlines()[-1] == f"and {len(faults) - 50:,} more"


def test_more_blocks_than_anybody_stacks(monkeypatch):
    looked_up, entry = [], Registry.entry
    monkeypatch.setattr(Registry, "entry", lambda self, name: looked_up.append(name) or entry(self, name))
    pattern = listing(["ode"] * (MAX_PATTERN + 1))
    text = f"model_class: mini\nmodel: {{layer_pattern: {pattern}}}\ntraining: {{lr_other: 1}}\n"
    with pytest.raises(ConfigError, match=r"layer_pattern has 1,001 blocks; name at most 1,000"):
        from_source(parse_source(text), "absurd")
    assert len(looked_up) < 100


def test_more_sources_than_anybody_lists(problems, base):
    sources = listing(f"a{i}.txt" for i in range(MOST_SOURCES + 1))
    (fault,) = problems(base, f"training.dataset={sources}")
    assert fault.key == "training.dataset"
    assert "10,001 sources; name at most 10,000" in fault.message


def test_a_pattern_of_thousands_is_built_once_a_block(load, minimal, monkeypatch):
    from ultra_blocks.encoder import meta_build

    built = []
    build = meta_build.build_mixer
    monkeypatch.setattr(meta_build, "build_mixer", lambda *a: built.append(a[1]) or build(*a))
    pattern = listing(["standard_attn", "{gqa_attn: {num_kv_heads: 2}}", "gqa_attn"] * 300)
    load(minimal, f"model.layer_pattern={pattern}")
    assert built.count("standard_attn") == 1
    assert built.count("gqa_attn") == 2


def test_so_is_one_of_different_ones(load, minimal, monkeypatch):
    from ultra_blocks.encoder import meta_build
    from ultra_blocks.encoder.sample import sample_encoder

    built = []
    build = meta_build.build_mixer
    monkeypatch.setattr(meta_build, "build_mixer", lambda *a: built.append(a[1]) or build(*a))
    items = [f"{{standard_attn: {{positions: {{rope: {{base: {i}}}}}}}}}" for i in range(10, 900)]
    preset = load(minimal, f"model.layer_pattern={listing(items)}", "model.num_layers=890")
    assert len(built) == meta_build.MAX_BUILDS
    assert len(sample_encoder(preset.model).layers) == meta_build.MAX_BUILDS


def test_an_enormous_name_is_cut(problems, base):
    with pytest.raises(ConfigError) as caught:
        from_source(parse_source(base.replace("lion\n", "x" * 100_000 + "\n")), "absurd")
    assert len(str(caught.value)) < 10_000
