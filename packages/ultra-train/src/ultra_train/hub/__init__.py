"""Pushing models to the Hugging Face hub.

* ``upload``: the upload with its retries, and what its errors mean.
* ``push_process``, ``process``: the upload in a process of its own, and what that process runs.
* ``background``: such an upload beside the end of a run.
"""
