"""What a request may ask for, at most, unless the export says otherwise."""

MAX_BATCH = 256
"""Images in one request."""

MAX_GRADIENTS = 64
"""Images in one request for gradients."""

MAX_ITERATIONS = 100
"""Power iterations in one request."""
