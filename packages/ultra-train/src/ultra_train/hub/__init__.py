"""Pushing a finished model to the Hugging Face hub.

* ``upload``: the upload with its retries, and what its errors mean.
* ``background``: the upload in a process of its own, beside the end of a run.
"""
