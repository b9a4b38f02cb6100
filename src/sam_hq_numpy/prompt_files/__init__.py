"""Boxes and points of many images as other tools write them: one module a format; `reading` detects the format."""
