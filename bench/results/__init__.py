"""The results folder on disk: names, files, and who may write or delete there. No torch."""
