"""The sweep: the command that makes a picture for every combination of settings."""
