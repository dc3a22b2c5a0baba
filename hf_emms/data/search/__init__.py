"""Read queries, documents and relevance judgments, and draw a sample of them."""
