"""How thorough this run of the tests is: a few examples by default, many in ``nox -s nightly``."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
