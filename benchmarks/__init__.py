"""Speed, measured: one claim a file, printed as a ratio within one run."""
