"""How element-wise updates run; the engine must equal ``plain``, and uses it where it cannot be faster.

* ``plain``: the update as one call of torch operations on whole tensors.
* ``passes``: the same on cache-sized slices, divided among ``threads``, with the sizes in ``sizes``.
* ``c_backend``: loops of C, which ``c_codegen``, ``c_operations`` and ``c_compiler`` write and compile.
* ``torch_backend``: code of ``torch.compile``; ``compilation``: the option ``compile``.
* ``operations``, ``decay``, ``seeded_random``: what updates are written with.
"""
