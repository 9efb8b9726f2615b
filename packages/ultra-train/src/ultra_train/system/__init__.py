"""The process and its surroundings: files, signals, random generators."""
