"""Records of a run: recipe, snapshot, software and machine."""
