"""What the graph tells people: lists and explanations."""
