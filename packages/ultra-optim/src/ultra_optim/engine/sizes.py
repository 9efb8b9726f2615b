"""Sizes of the pieces of work, in elements unless stated otherwise.

The bounds change speed and scratch memory, and the order in which long sums are added up; updates of single
elements do not depend on them. They were measured on CPUs with last-level caches of 16 to 64 MiB.
"""

TORCH_SLICE = 1 << 18
"""Slice of a tensor in one pass by torch operations on a CPU: six such tensors in float32 fit the cache."""

C_SLICE = 1 << 19
"""Slice of a tensor in one pass by a C loop, which reads every element once and whose calls cost more."""

CACHED_BATCH = 5 << 17
"""Parameters that take all passes of an update together, so that the second pass finds them in the cache."""

SCRATCH = 1 << 24
"""Parameters whose temporary tensors may be in memory at the same time."""

PIECE = 1 << 19
"""Piece of a matrix in methods that are not element-wise, on a CPU: a few such tensors fit its cache."""

FACTORED_ALONE = 1 << 20
"""Largest matrix of a factored method that one thread works on alone; longer ones are shared by rows."""

STACKED_ALONE = 1 << 22
"""Largest matrix of a stacked method that one thread works on alone; torch divides longer ones."""

STACK = 1 << 16
"""Matrices that are copied into one stack on a CPU; for larger ones the copy costs more than the calls."""

ORDERED_SUM = 1 << 14
"""Longest sum that torch takes in the same order for any number of threads."""

SUM_BLOCK = 1024
"""Elements that a C loop adds up in their own precision, before the sum goes on in double precision."""

TRIANGULAR_BLOCK = 256
"""Rows of a block of a triangular matrix: smaller blocks skip more zeros, but their products are slower."""
