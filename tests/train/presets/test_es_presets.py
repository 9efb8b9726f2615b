"""The Spanish presets are those of the catalogue in docs/presets.md, tuned as its guide says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from ultra_blocks.config import split_spec
from ultra_core import presets
from ultra_train.config import load_any, load_preset, to_yaml
from ultra_train.tasks.mlm.training import MLMRun

NAMES = [name for name in presets.names() if name.startswith(("es_mlm_", "es_arch_"))]
PAGE = (Path(__file__).parents[3] / "docs" / "presets.md").read_text("utf-8")
GUIDES = {
    "best_first_run": {
        "es_mlm_beto_adamw",
        "es_mlm_distilmbert_lamb",
        "es_arch_standard_layer_norm_prodigy",
    },
    "lowest_vram": {"es_mlm_albert_sophia", "es_mlm_distilmbert_lamb", "es_arch_mini_cautious_adamw"},
    "optimizer_benchmark": set(NAMES),
}

loaded = cache(load_preset)


def _rows(page: str) -> dict[str, list[str]]:
    """Return the cells of every row of a table whose first cell is a name in code."""
    rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `es_"))
    return {cells[0].strip("` "): [cell.strip("` ") for cell in cells[1:]] for cells in rows}


def _row(name: str) -> list[str]:
    """Return the row of a preset as the table of the page shows it."""
    preset = loaded(name)
    model, training, meta = preset.model, preset.training, preset.meta
    parts = ["", ""]
    if model is not None:
        pattern = ", ".join(split_spec(spec)[0] for spec in model.layer_pattern)
        parts = [str(model.norm_type), f"[{pattern}]"]
    kind = preset.base_model or preset.model_class
    rows = f"{training.batch_size} x {training.max_length}"
    optimizer = training.optimizer.optimizer_class
    return [str(kind), optimizer, *parts, rows, str(meta.vram), str(meta.stability)]


def test_there_are_nineteen():
    assert len(NAMES) == 19


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_catalogue_says(name):
    assert _rows(PAGE)[name] == _row(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_canonical_and_says_nothing_but_where_its_data_is(name, tmp_path):
    preset = loaded(name)
    (notice,) = preset.notices
    assert "erickfmm/red_pajama_es_hq_35: no file or folder here" in notice
    path = tmp_path / f"{name}.yaml"
    path.write_text(to_yaml(preset), "utf-8")
    assert load_any(path) == preset


@pytest.mark.parametrize("name", NAMES)
def test_it_is_tuned_as_the_guide_says(name):
    preset = loaded(name)
    training = preset.training
    assert training.use_amp is False
    assert training.max_length in (256, 512)
    assert 1 <= training.batch_size <= 8
    assert 4 <= training.gradient_accumulation_steps <= 16
    assert training.batch_size * training.gradient_accumulation_steps == 32
    assert training.grad_clip_max_norm == 5.0
    assert training.inf_post_clip_threshold is None  # 100 by the task
    assert MLMRun.largest_gradient_norm == 100.0
    assert training.max_nan_retries == 3
    own_schedule = "schedulefree" in training.optimizer.optimizer_class
    assert training.scheduler_type == ("constant" if own_schedule else "cosine")
    assert [s.source for s in training.dataset] == ["erickfmm/red_pajama_es_hq_35"]
    if preset.base_model is not None:
        assert preset.tokenizer.name_or_path == preset.base_model
    assert preset.meta.papers
    assert preset.meta.summary


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_lists_its_presets_and_no_others(guide, ultra):
    lines = ultra("list", "presets", "--guide", guide).output.splitlines()[1:]
    assert {line.split()[0] for line in lines} == GUIDES[guide]


def test_every_preset_on_the_page_exists():
    named = set(re.findall(r"`(es_[a-z0-9_]+[a-z0-9])`", PAGE))
    assert named <= set(presets.names())
    assert set(NAMES) <= named
