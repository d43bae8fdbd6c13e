"""What the tools and the resources answer: short models made from the engine's own.

An editor pays for every character of an answer: long texts are cut, and the answer says so.
"""
