"""Base models on this machine: which there are, what they need, and how they get here.

`catalogue` and `names` know the hub's spelling, `store` the folders, `resolve` what a name means,
`memory` what fits, `pull` brings a model. Nothing here imports torch; only `hub` uses the network.
"""
