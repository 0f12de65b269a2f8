"""The process and its machine: Keras' backend, a host program's scopes, limits, signals, files."""
