"""The command `sam-hq`. It stands beside the package so that `sam-hq --help` imports no deep-learning library."""
