"""The process of a push beside a run: prints one line of JSON, ``{"address": ...}`` or ``{"error": ...}``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ultra_train.hub.upload import PushError, upload


def main(folder: str, repository: str, message: str) -> None:
    """Push a folder and print how that ended."""
    try:
        answer = {"address": upload(Path(folder), repository, message=message)}
    except PushError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
