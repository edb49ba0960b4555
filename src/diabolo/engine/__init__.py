"""The compiled loop and what it needs: batches, noise, devices, checkpoints, inference."""
