"""The process and its surroundings.

* ``files``, ``checksums``: atomic writing and removing; SHA-256.
* ``disk_space``: waiting for room on a full disk.
* ``run_files``, ``owned_files``: names of the files of a run, and the record of those that it owns.
* ``signals``, ``random_state``: signal handling; the state of all random generators.
* ``processes``: the processes of a run under a launcher, and what they say to each other.
"""
