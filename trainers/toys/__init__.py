"""Toy problems in two dimensions."""
