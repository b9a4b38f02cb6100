"""The command `sam-hq`. A package of its own, so that `sam-hq --help` imports no deep-learning library."""
