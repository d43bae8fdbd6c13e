"""A trainer that trains nothing and starts quickly: it imports nothing but the standard library."""
