"""The task ``plugin_name`` for ultra."""
