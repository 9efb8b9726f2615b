"""Numbers for texts, so that batches are planned without comparing strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset


def text_ids(rows: Dataset, columns: Sequence[str]) -> NDArray[np.int32]:
    """Return a number for each text, equal for equal texts of any column: (rows, columns).

    Args:
        rows: the data set.
        columns: names of its columns of texts.
    """
    import pyarrow as pa

    table = rows.data.table
    chunks = [chunk.cast(pa.large_string()) for name in columns for chunk in table.column(name).chunks]
    encoded = pa.chunked_array(chunks, pa.large_string()).dictionary_encode()
    numbers = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    ids = np.concatenate(numbers).astype(np.int32, copy=False).reshape(len(columns), table.num_rows).T
    return ids if rows._indices is None else ids[rows._indices.column(0).to_numpy()]
