"""The vLLM back-end: a server in a virtual environment of its own, spoken to over HTTP.

    command.py     the server's command line
    launch.py      starts it, waits for it, ends it
    server.py      its HTTP interface, one method an endpoint
    replies.py     what it answers, and its errors, in our words
    chat.py        requests as prompt text
    base_shapes.py which modules the base model has
    refusals.py    adapters that it would refuse or garble
    staging.py     copies of adapters, under paths that never mean other bytes
    loaded.py      which adapters are on the server, and who uses them
    mixing.py      keeps base answers its own where batches mix them with adapters
    canary.py      does it answer after a sleep as it did before?
    connection.py  a server that was found to serve our base model
    provider.py    all of these as an `InferenceProvider`

This process imports neither vLLM nor torch.
"""
