"""The result of a step on disk, memory-mapped and reused by later runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.data.cache import Notify
from ultra_train.data.pairs.identity import pairs_fingerprint
from ultra_train.data.pairs.store import PairStore

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_FORMAT = 1


class StoredStep:
    """The rows that a step makes of a data set.

    Args:
        step: name of the step.
        dataset: the rows that it begins with.
        about: what else the result depends on: the model and the options.
        cache_dir: folder of the caches.
        notify: is called with a line about a damaged folder, and with what the step says.
    """

    def __init__(
        self,
        step: str,
        dataset: datasets.Dataset,
        about: Mapping[str, Any],
        cache_dir: str | Path,
        notify: Notify,
    ) -> None:
        identity = {"step": step, "format": _FORMAT, "rows": pairs_fingerprint(dataset), **about}
        self._store, self._notify = PairStore(cache_dir, identity, notify), notify
        self.work = self._store.folder.with_name(f"{self._store.folder.name}-{step}")
        """A folder for what the step keeps until it is done."""

    def rows(self, make: Callable[[list[str]], Iterable[pa.RecordBatch]]) -> datasets.Dataset:
        """Return the result, which is made when it is not there yet.

        Args:
            make: yields the rows in batches; it may append lines for the user to the list that it is given.
        """
        about = self._store.about()
        if about is None:
            about = self._made(make)
            shutil.rmtree(self.work, ignore_errors=True)  # only this step writes there
        for line in about["notices"]:
            self._notify(line)
        return self._store.datasets(about["fingerprints"])["train"]

    def _made(self, make: Callable[[list[str]], Iterable[pa.RecordBatch]]) -> dict[str, Any]:
        import pyarrow as pa

        notices: list[str] = []
        batches = iter(make(notices))
        first = next(batches)
        with self._store.building() as (folder, about):
            with (
                pa.OSFile(str(folder / "train.arrow"), "wb") as file,
                pa.ipc.new_stream(file, first.schema) as stream,
            ):
                stream.write_batch(first)
                for batch in batches:
                    stream.write_batch(batch)
            fingerprint = self._store.folder.name.removeprefix("pairs-")
            about.update(notices=notices, fingerprints={"train": fingerprint})
        return about
