"""What computes: encoders, prompt encoder, decoder, losses, and the rules for what they take."""
