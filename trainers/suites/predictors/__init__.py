"""What predicts how far an image is from its nearest adversarial example."""
