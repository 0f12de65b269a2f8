"""The commands: flags in, files out, errors as sentences."""
