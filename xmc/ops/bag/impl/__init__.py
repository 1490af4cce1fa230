"""Back ends of the op: modules with the functions `count_terms`, `sums`, `sum_of_squares` and `add_`."""
