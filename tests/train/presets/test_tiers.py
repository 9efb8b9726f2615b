"""The VRAM tier of a preset holds by its estimate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.profile import NIGHTLY
from ultra_core import presets
from ultra_train.config import load_any, load_preset
from ultra_train.estimate.devices import find_device
from ultra_train.estimate.estimate import estimate
from ultra_train.tasks.base import Task
from ultra_train.tasks.loading import load_task

PAGE = (Path(__file__).parents[3] / "docs" / "presets.md").read_text("utf-8")
CARDS = {tier: int(gb) * 1e9 for tier, gb in re.findall(r"^\| ([a-z-]+) \| (\d+) GB \|$", PAGE, re.MULTILINE)}
SAMPLE = ["es_mlm_bertin_lion", "es_mlm_distilmbert_lamb", "es_mlm_xlmr_radam", "es_mlm_albert_sophia"]


def _can_be_estimated(name: str) -> bool:
    task = getattr(load_any(name), "task", None)
    return task is not None and type(load_task(task)).dry_step is not Task.dry_step


ALL = list(filter(_can_be_estimated, presets.names())) if NIGHTLY else SAMPLE


@pytest.mark.parametrize("name", ALL)
def test_it_fits_the_card_of_its_tier(name):
    """Some at every push, all in the nightly tests: an estimate takes seconds."""
    preset = load_preset(name)
    needed = estimate(preset, find_device("p40")).needed
    assert needed < CARDS[preset.meta.vram]


def test_tiers_rise():
    assert list(CARDS.values()) == sorted(CARDS.values())
    assert list(CARDS) == ["low", "low-medium", "medium", "medium-high", "high"]
