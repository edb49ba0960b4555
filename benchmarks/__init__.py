"""What is measured: how fast, side by side with others, in one run."""
