"""Back ends of the fixed fan-in op: modules with the functions `lacks`, `linear`, `linear_backward`, `loss` and `topk`."""
