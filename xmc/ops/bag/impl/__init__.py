"""Back ends of the op: modules with the functions `count_terms`, `tf_idf`, `sums`, `sum_of_squares` and `add_`."""
