"""Back ends of the op, each a `Backend` in a module of its own."""
