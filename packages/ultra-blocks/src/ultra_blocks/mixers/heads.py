"""Default numbers of heads, which divide the width of the model."""

from __future__ import annotations

ATTENTION_WIDTH = 64
"""Width of an attention head in BERT, from the tiny to the large model."""

RECURRENT_WIDTH = 128
"""Width of a head of a recurrence, whose state of d_k x d_v numbers is its whole memory."""


def number_of_heads(
    given: int | None, hidden_size: int, *, width: int = ATTENTION_WIDTH, multiple_of: int = 1
) -> int:
    """Return the number of heads that was given, else the one that makes heads closest to ``width``.

    The default divides ``hidden_size``. Heads of even width are preferred, because rotations need pairs.

    Args:
        given: the argument of the constructor, returned unchanged unless it is None.
        hidden_size: width D of the residual stream.
        width: preferred width of a head.
        multiple_of: the number of heads must be a multiple of this, where D has such a divisor.
    """
    if given is not None:
        return given
    divisors = [h for h in range(1, hidden_size + 1) if hidden_size % h == 0] or [1]
    divisors = [h for h in divisors if h % multiple_of == 0] or divisors
    divisors = [h for h in divisors if hidden_size // h % 2 == 0] or divisors
    wanted = hidden_size / width
    return min(divisors, key=lambda h: max(h / wanted, wanted / h))


def grouped_heads(given: int | None, given_groups: int | None, hidden_size: int) -> tuple[int, int]:
    """Return the numbers of query heads H and key heads G; G is H / 4 if 4 divides H, else 1."""
    heads = number_of_heads(given, hidden_size, multiple_of=given_groups or 1)
    if given_groups is not None:
        return heads, given_groups
    return heads, 1 if heads % 4 else heads // 4
