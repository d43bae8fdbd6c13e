"""A network that turns trajectories into an adapter in one forward pass (S9).

Two kinds, trained and used alike: one that starts as the closed form and learns which tokens count,
where their keys lie and what their values are; and one that starts from nothing.
"""
