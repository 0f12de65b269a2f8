"""The batch command."""
