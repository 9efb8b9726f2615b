"""Run by the interpreter of an environment: commands of ultra-train in forks of one process.

Importing torch and transformers takes most of the time of a command; here it happens once. Each line of the
standard input is a JSON object with ``arguments`` of ultra-train or ``code``, a ``folder``, ``variables`` and
an ``output`` file; each line of the standard output is the exit code.
"""

import importlib
import json
import os
import sys
import traceback

import transformers  # noqa: F401
from transformers import AutoModel, Trainer  # noqa: F401

import ultra_train.cli.app


def child(request: dict) -> None:
    """Do what a request asks for, and end the process."""
    code = 99
    try:
        file = os.open(request["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(request["folder"])
        os.environ |= request["variables"]
        importlib.invalidate_caches()
        sys.path.insert(0, "")
        if "code" in request:
            exec(request["code"], {"__name__": "__main__"})
            code = 0
        else:
            code = ultra_train.cli.app.main(request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        child(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
