"""What clients of OpenAI's API have to be given, in the words of each of them."""

from __future__ import annotations

from dataclasses import dataclass

_SETTINGS = """\
Base URL  {base_url}
Key       {key}
Model     {model}
          (rune:base is the model without memory; rune:ADAPTER is one adapter)

aider
  export OPENAI_API_BASE={base_url}
  export OPENAI_API_KEY={key}
  aider --model openai/{model}

Continue, in config.yaml
  models:
    - name: Rune
      provider: openai
      model: "{model}"
      apiBase: {base_url}
      apiKey: {key}
      roles: [chat, edit, apply]

Cline: API Provider "OpenAI Compatible"
  Base URL  {base_url}
  API Key   {key}
  Model ID  {model}

Python
  from openai import OpenAI
  client = OpenAI(base_url="{base_url}", api_key="{key}")
  messages = [{{"role": "user", "content": "..."}}]
  client.chat.completions.create(model="{model}", messages=messages)
"""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the endpoint is, what opens it, and which model to ask for."""

    base_url: str
    key: str
    model: str


def settings(access: Access) -> str:
    """Ready-made settings for the clients that people use."""
    return _SETTINGS.format(base_url=access.base_url, key=access.key, model=access.model)
