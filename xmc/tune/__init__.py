"""`xmc tune`: what is tried (`space`), which of it goes on (`halving`), the record (`study`), the end (`outcome`)."""
