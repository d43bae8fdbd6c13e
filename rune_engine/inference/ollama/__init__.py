"""The Ollama back-end: a server that somebody else runs, spoken to over HTTP.

    server.py      its HTTP interface, one method an endpoint, and its errors in our words
    models.py      which of its models is which adapter: made once, named by content, tried out
    answers.py     a request as Ollama's, and its stream as an answer
    provider.py    all of these as an `InferenceProvider`

Ollama has one model per adapter and no hot swap. Where its engine cannot apply an adapter, the
adapter is merged into the base model.
"""
