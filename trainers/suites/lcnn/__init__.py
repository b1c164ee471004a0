"""The measurements of the LCNN paper."""
