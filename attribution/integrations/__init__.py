"""Hooks into the training loops that people have; each module needs the library of its name, and nothing else does."""
