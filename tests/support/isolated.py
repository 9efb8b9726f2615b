"""A function run in a process in which some packages cannot be imported."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib.abc import MetaPathFinder


class Blocked(MetaPathFinder):
    """Refuses to import packages, as where they are not installed."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def run_without(packages: tuple[str, ...], function: Callable[[], None]) -> None:
    """Run a function in a forked process, which need not import torch again, without these packages.

    Raises:
        AssertionError: the function raised something; its traceback is printed.
    """
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for name in [name for name in sys.modules if name.split(".")[0] in packages]:
                del sys.modules[name]
            sys.meta_path.insert(0, Blocked(packages))
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
