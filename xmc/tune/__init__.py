"""`xmc tune`: a record (`study`) and a loop (`session`) around `xmc train`."""
