"""The prediction servers of clients/*/examples, built and tested by scripts/examples."""
