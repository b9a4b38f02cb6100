"""The common tests of the pinned transformers over our classes: `make upstream`."""
