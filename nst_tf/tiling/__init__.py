"""Pictures in tiles, with the same gradient: memory estimate, spill files, bands of rows."""
