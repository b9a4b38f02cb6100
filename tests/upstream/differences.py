"""Where our classes differ on purpose from what transformers' common tests want, `Class.test` (patterns) and why.

Everything else passes. An entry that matches no failure fails the run.
"""

DIFFERENCES: dict[str, str] = {}
