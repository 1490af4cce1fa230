"""Back ends of the op: modules with the functions `sums`, `sum_of_squares` and `add_`."""
