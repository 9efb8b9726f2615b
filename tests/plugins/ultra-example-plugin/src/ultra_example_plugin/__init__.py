"""A block, a norm, an optimizer and a hook for ultra."""
