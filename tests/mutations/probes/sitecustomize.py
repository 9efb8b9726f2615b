"""Gives every interpreter on whose path it is the function that the probes in the sources call."""

import builtins
import os

_seen = set()


def _probe(name):
    test = os.environ.get("PYTEST_CURRENT_TEST")
    results = os.environ.get("MUTATION_RESULTS")
    if test and results and (name, test) not in _seen:
        _seen.add((name, test))
        with open(f"{results}/hits-{name}-{os.getpid()}", "a", encoding="utf-8") as file:
            file.write(test + "\n")


builtins._probe = _probe
