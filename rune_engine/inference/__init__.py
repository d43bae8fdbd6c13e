"""S3: complete a conversation with a local model, an adapter on or off.

`provider.py` is the interface, `factory.py` chooses the back-end. Importing any of it leaves
torch out; only the worker process loads a model.
"""
