"""Laws that every estimator must keep: metamorphic and differential tests, in one table for tests and benchmark."""
