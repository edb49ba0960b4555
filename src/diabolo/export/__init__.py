"""A fitted model in another format."""
