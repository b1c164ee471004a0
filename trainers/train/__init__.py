"""One training run, from its flags to its folder."""
