"""The measurements of the paper that dissects examples."""
