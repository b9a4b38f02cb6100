"""What needs numpy and Pillow alone: shared by the model's package and by the runner without torch."""
