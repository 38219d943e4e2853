"""The state wing: memory in the activations that a sequence model carries along."""
