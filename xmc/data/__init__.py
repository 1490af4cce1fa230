"""Raw files to corpora, corpora to tokens, tokens to batches."""
