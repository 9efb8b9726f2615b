"""The task ``classification``: texts into classes, or numbers for texts."""
