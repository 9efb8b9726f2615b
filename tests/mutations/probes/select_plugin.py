"""Runs the tests that a file lists, in its order; those that are no longer there are passed over."""

import os
from pathlib import Path


def pytest_collection_modifyitems(config, items):
    order = {
        test: n for n, test in enumerate(Path(os.environ["MUTATION_TESTS"]).read_text("utf-8").split("\n"))
    }
    listed = [item for item in items if item.nodeid in order]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in order])
    items[:] = sorted(listed, key=lambda item: order[item.nodeid])
