"""The measurements of the paper on smooth adversarial examples."""
