"""Masks of an image written in the formats that other tools read: one module a format."""
