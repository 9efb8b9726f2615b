"""The forget gates of the Forgetting Transformer: one pair of tokens at a time."""

from __future__ import annotations

from torch import Tensor


def forget_bias(behind: Tensor, ahead: Tensor, documents: Tensor) -> Tensor:
    """Return the bias of the scores, ``D_ij = sum_{l=j+1}^{i} log f_l`` (equation 4 of the paper).

    For a key after the query the sum is that over ``i+1..j`` of the gates ``ahead``. Only real tokens of the
    document count; pairs across documents get 0.

    Shapes:
        gates f ``(B, H, T)``, documents ``(B, T)`` with -1 at padding -> ``(B, H, T, T)``.
    """
    batch, heads, length = behind.shape
    bias = behind.new_zeros(batch, heads, length, length)
    for b in range(batch):
        for i in range(length):
            for j in range(length):
                document = int(documents[b, i])
                if document < 0 or documents[b, j] != document:
                    continue
                gates, first, last = (behind, j, i) if j <= i else (ahead, i, j)
                for between in range(first + 1, last + 1):
                    if documents[b, between] == document:
                        bias[b, :, i, j] = bias[b, :, i, j] + gates[b, :, between].log()
    return bias
