"""The parts of a run that can be chosen: of each its keys, what is built of them, and what it needs.

A kind of part has a module or a package here: a registry of what can be chosen, and an abstract section that says what
is asked of each. All of them are light, since they hold the keys that `--help` shows: what imports torch is imported
where something is built.
"""
