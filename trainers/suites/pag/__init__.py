"""The measurements of the paper on aligned gradients."""
