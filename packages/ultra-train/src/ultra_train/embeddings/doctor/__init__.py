"""What is wrong with an encoder, or with a base model for one, and what to do about it."""
