"""Training of SAM-HQ: data, prompts, losses and the loop."""
