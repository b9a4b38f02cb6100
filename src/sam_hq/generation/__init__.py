"""Automatic mask generation: the engine, the pipeline, and what it does with the masks it finds."""
