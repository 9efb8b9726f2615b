"""No key of the preset language is dead: something outside of its declaration reads it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import attrs
import pytest

import ultra_train
from ultra_blocks.config import UltraConfig
from ultra_train.config.integrations import VARIABLES, MlflowConfig
from ultra_train.config.optimizer import FLAT_KEYS, GALORE_KEYS
from ultra_train.config.preset import FOLDED, PresetFile
from ultra_train.config.sections import Meta
from ultra_train.tasks.mlm.options import MLMOptions

REWRITTEN = {*FLAT_KEYS, *GALORE_KEYS, *FOLDED}
"""Other spellings, which loading rewrites into the canonical ones."""
SHOWN, BY_NAME = {Meta}, {MlflowConfig, UltraConfig}
"""What only ``list presets`` shows; what is read by the names of variables, or of the options of plugins."""
ACTING = ("local_files", "integrations", "optimizer_build")
"""Modules of the declarations that act on a key, and do not only judge, complete or rewrite it."""
SOURCES = Path(ultra_train.__file__).parent


@cache
def attributes_read():
    """The names of all attributes that are read outside of the declarations of keys."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        folders = path.relative_to(SOURCES).parts
        if "plugin_templates" in folders or ("config" in folders and path.stem not in ACTING):
            continue
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        found |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    return found


def sections(kind, found=None):
    """The attrs classes below a type, itself included."""
    found = {} if found is None else found
    if attrs.has(kind) and kind not in found:
        found[kind] = None
        for hint in get_type_hints(kind).values():
            sections(hint, found)
    for inner in get_args(kind):
        sections(inner, found)
    return list(found)


ALL = {section for root in (PresetFile, MLMOptions) for section in sections(root)} - SHOWN - BY_NAME


@pytest.mark.parametrize(
    "section", sorted(ALL, key=lambda s: s.__name__), ids=lambda section: section.__name__
)
def test_every_key_is_read(section):
    keys = {field.name for field in attrs.fields(section)} - REWRITTEN
    assert keys - attributes_read() == set()


def test_every_key_of_mlflow_is_a_variable_or_the_tags():
    assert {field.name for field in attrs.fields(MlflowConfig)} == {*VARIABLES, "tags"}
