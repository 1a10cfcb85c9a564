"""Provides ``LadderClassifier``, a ladder network with the interface of scikit-learn."""
