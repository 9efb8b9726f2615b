"""Writes how long each test took, and which fixtures it shares with others."""

import json
import os

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    shared = []
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        if definitions[-1].scope != "function" and not name.startswith("_"):
            shared.append(f"{definitions[-1].baseid}::{name}")
    said = {
        "test": item.nodeid,
        "seconds": report.duration,
        "outcome": report.outcome,
        "fixtures": shared,
    }
    results = os.environ["MUTATION_RESULTS"]
    with open(f"{results}/tests-{os.getpid()}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")
