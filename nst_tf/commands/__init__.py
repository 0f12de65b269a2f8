"""The commands: flags in, files out, and a sentence for everything that goes wrong."""
