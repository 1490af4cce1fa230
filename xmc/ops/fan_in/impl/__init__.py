"""Back ends of the op: modules with the functions `lacks`, `linear`, `linear_backward`, `loss` and `topk`."""
