"""Shared by every test: a hypothesis profile, one thread a process, third-party plugins switched off."""

import os
import signal
from pathlib import Path

os.environ.setdefault("ULTRA_DISABLE_PLUGINS", "*")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# As many processes run tests as there are cores, and some tests start processes of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A forked child would start threads of gRPC, to which the signals of a test may go.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import hypothesis
import pytest

from support.profile import SLOW

# Background jobs start with these ignored; tests send them to processes and expect them to stop.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

hypothesis.settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
for name, examples in {"quick": 5, "nightly": 200}.items():
    hypothesis.settings.register_profile(
        name, parent=hypothesis.settings.get_profile("default"), max_examples=examples
    )
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
hypothesis.settings.load_profile(PROFILE)
os.environ.setdefault("ULTRA_KIT_EFFORT", {"nightly": "thorough"}.get(PROFILE, PROFILE))


TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if str(item.path.relative_to(TESTS)).startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
