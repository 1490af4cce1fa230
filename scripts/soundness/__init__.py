"""An attack on xmc: kills, flipped bits, mutated inputs, hostile models and concurrent starts, and what comes."""
