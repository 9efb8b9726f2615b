"""The hooks ``plugin_name`` for ultra."""
