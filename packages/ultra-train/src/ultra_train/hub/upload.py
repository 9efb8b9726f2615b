"""Uploading a folder to the Hugging Face hub, with retries and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ultra_core.errors import UltraError

WAITS = (5.0, 15.0, 45.0, 135.0)
"""Seconds before every further attempt."""
SILENCE = 120.0
"""Seconds without any answer after which a request counts as failed."""
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
MESSAGE = "Upload of ultra-train"
"""First line of a commit."""
_UNFINISHED = ".unfinished*"


class PushError(UltraError):
    """A folder could not be uploaded.

    Args:
        message: why, and what to do.
        may_pass: whether the same request may succeed later.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


def upload(
    folder: Path,
    repository: str,
    *,
    message: str = MESSAGE,
    private: bool | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Upload a folder as one commit of a model repository, and return its address.

    The repository is made when it does not exist. Large files that an earlier attempt has uploaded are not
    sent again.

    Args:
        folder: the folder, with its model card.
        repository: ``owner/name``, or ``name`` for one of the owner of the token.
        message: the first line of the commit.
        private: whether the repository is private when it is made; None: as the hub decides.
        endpoint: address of the hub; by default ``HF_ENDPOINT``, or the public one.
        token: by default ``HF_TOKEN``, or the one that ``hf auth login`` stored.
        say: is called with a line before another attempt.
        sleep: waits for a number of seconds.

    Raises:
        PushError: no attempt succeeded, or no other one could.
    """
    for number, wait in enumerate((*WAITS, None), start=1):
        try:
            return _attempt(folder, repository, message, private, endpoint, token)
        except PushError as error:
            if not error.may_pass or wait is None:
                raise
            say(f"attempt {number} to push failed: {error}; the next one in {wait:.0f} s")
            sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def has_token() -> bool:
    """Whether there is a token for the hub."""
    from huggingface_hub import get_token

    return get_token() is not None


def _attempt(
    folder: Path,
    repository: str,
    message: str,
    private: bool | None,
    endpoint: str | None,
    token: str | None,
) -> str:
    from huggingface_hub import HfApi, get_session, get_token

    token = token or get_token()
    if token is None:
        raise PushError(f"there is no token for the hub; {LOG_IN}")
    get_session().timeout = SILENCE  # by default a request waits without end
    hub = HfApi(endpoint=endpoint, token=token)
    try:
        made = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            commit_message=message,
            ignore_patterns=[_UNFINISHED],
        )
    except Exception as error:  # the errors of the transport have no public class
        raise _explained(error, repository, hub.endpoint) from error
    return str(made)


def _explained(error: Exception, repository: str, endpoint: str) -> PushError:
    """Return what an error of the client means.

    Raises:
        Exception: the error itself, when it does not come from the hub or the way to it.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return _answered(error, repository)
    if isinstance(error, OfflineModeIsEnabled):
        return PushError("HF_HUB_OFFLINE is set; unset it")
    if isinstance(error, HFValidationError):
        return PushError(f"{repository!r} cannot name a repository: {error}")
    if isinstance(error, ValueError):  # the model card, or an answer that is not JSON
        return PushError(f"{endpoint} does not take it: {error}")
    if isinstance(error, ConnectionError) or type(error).__module__.startswith(("httpx", "httpcore")):
        said = str(error).strip().rstrip(".") or type(error).__name__
        return PushError(f"{endpoint} cannot be reached, or the connection was lost ({said})", may_pass=True)
    raise error


def _answered(error: Exception, repository: str) -> PushError:
    """Return what an answer of the hub means."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    message = getattr(error, "server_message", None)
    said = f"{status}: {message}" if message else f"{status}"
    if status == 401:
        return PushError(f"the hub refused the token ({said}); {LOG_IN}")
    if status == 403:
        return PushError(
            f"the token may not write to {repository} ({said}); use one of its owner, or {LOG_IN}"
        )
    if status == 429 or status >= 500:
        return PushError(f"the hub answered {said}", may_pass=True)
    return PushError(f"the hub refused the push to {repository} ({said})")
