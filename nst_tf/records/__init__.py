"""What is written down of a run: recipe, snapshot, software and machine."""
