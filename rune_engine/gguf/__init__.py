"""GGUF, the file format of llama.cpp: adapters and base models written in it, and read strictly.

`reading` and `checks` judge a file before native code sees it; `adapters`, `bases` and `merging`
make files out of PEFT and Transformers folders; `cache` keeps what was made in the home; `export`
hands an adapter to other programs. Knows numpy and the `gguf` package, and neither torch nor
llama.cpp. The engine imports none of it at its start.
"""
