"""Models behind HTTP: our own routes, those of Annif and of text-embeddings-inference, and a page."""
