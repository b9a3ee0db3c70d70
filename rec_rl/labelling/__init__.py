"""A page on which people say which of two sessions is better."""
