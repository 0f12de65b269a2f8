"""The process and its machine: Keras' backend, the host program, limits, signals, files."""
