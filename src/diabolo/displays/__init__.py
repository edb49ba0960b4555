"""Pictures of fitted estimators in scikit-learn's manner, and results that show themselves in a notebook."""
