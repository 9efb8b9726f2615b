"""Plugins written for 0.1 import from these paths; the objects are those of today."""

from importlib import import_module

import pytest

PATHS = {
    "options": {
        "Range": "contracts",
        "FromModel": "contracts",
        "require": "plugins.signatures",
        "Option": "plugins.signatures",
        "bind": "plugins.signatures",
        "check_options": "plugins.signatures",
        "read_options": "plugins.signatures",
    },
    "params": {"ParamInfo": "contracts", "Kind": "contracts", "SEED_ROLES": "contracts"},
    "hooks": {"hookimpl": "plugins.hooks", "Run": "plugins.hooks", "Registries": "plugins.hooks"},
    "logits": {"RecordsLogits": "contracts", "LogitRows": "contracts"},
    "aliases": {"Alias": "plugins.aliases"},
}


@pytest.mark.parametrize("path", PATHS)
def test_an_older_path_leads_to_the_same_objects(path):
    older = import_module(f"ultra_core.{path}")
    for name, module in PATHS[path].items():
        assert getattr(older, name) is getattr(import_module(f"ultra_core.{module}"), name)
    assert set(older.__all__) - {"KINDS"} == set(PATHS[path])
    assert "0.1" in older.__doc__


def test_the_older_name_of_the_kinds_of_parameters():
    from ultra_core.contracts import PARAMETER_KINDS
    from ultra_core.params import KINDS

    assert KINDS is PARAMETER_KINDS
