"""What several parts of the library stand on, and nobody imports by name."""
