"""The results folder on disk: typed rows, names, and who may write or delete there. No torch."""
