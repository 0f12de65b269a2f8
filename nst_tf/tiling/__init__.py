"""A picture in tiles, to the same gradient: what fits into memory, spill files, bands of rows."""
