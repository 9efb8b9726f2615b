"""A block, a norm, an optimizer, a task and a hook for ultra."""
