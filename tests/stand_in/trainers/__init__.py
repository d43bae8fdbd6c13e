"""A trainer that keeps the protocol and trains nothing, for tests of the engine around it."""
