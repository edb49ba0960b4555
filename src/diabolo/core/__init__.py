"""The formula: its parts, the model made of them, and the loss. It knows no file and no estimator."""
