"""The command line and the environment of a vLLM server that Rune can use. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base_models import BaseModelFolder
from rune_engine.errors import InvalidInputError
from rune_engine.inference.vllm.refusals import rounded_rank

HOST = "127.0.0.1"
"""Nothing else: whoever reaches the server can have it load any file that it can read."""

_OURS = ("--host", "--uds", "--port", "--model", "--served-model-name", "--enable-lora")
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What to serve, and with how much room.

    `max_adapters` is how many adapters a batch can mix, `max_cpu_adapters` how many the server
    keeps; `max_rank` is rounded up to what vLLM knows. `sleep` needs CUDA or ROCm.
    """

    python: str
    base_model_id: str
    model: Path
    port: int
    dtype: str = "auto"
    pipeline_parallel: int = 1
    tensor_parallel: int = 1
    max_adapters: int = 4
    max_cpu_adapters: int = 16
    max_rank: int = 64
    context: int | None = None
    sleep: bool = False
    extra: Sequence[str] = ()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def command(settings: ServerSettings) -> list[str]:
    """The arguments to start the server with.

    Raises:
        InvalidInputError: a rank that vLLM has not got, or an extra argument that is Rune's.
    """
    _check_extra(settings.extra)
    batch = settings.max_adapters
    options = {
        "--model": settings.model,
        "--served-model-name": settings.base_model_id,
        "--host": HOST,
        "--port": settings.port,
        "--dtype": settings.dtype,
        "--pipeline-parallel-size": settings.pipeline_parallel,
        "--tensor-parallel-size": settings.tensor_parallel,
        "--max-loras": batch,
        "--max-cpu-loras": max(batch, settings.max_cpu_adapters),
        "--max-lora-rank": rounded_rank(settings.max_rank),
        **({"--max-model-len": settings.context} if settings.context else {}),
    }
    return [
        # -P: a file in the current folder must not become part of the server.
        *(settings.python, "-P", "-m", "vllm.entrypoints.openai.api_server"),
        *(str(word) for option in options.items() for word in option),
        *("--enable-lora", "--disable-uvicorn-access-log"),
        *(("--enable-sleep-mode",) if settings.sleep else ()),
        *settings.extra,
    ]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, without what would mix our Python with the server's.

    Development mode brings `/sleep`, `/wake_up` and `/server_info`; it is why the server listens
    on the loopback interface only.
    """
    kept = {key: value for key, value in inherited.items() if key not in _NOT_INHERITED}
    return {
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        **kept,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def model_folder(model: BaseModelFolder) -> Path:
    """The folder for vLLM to serve.

    Raises:
        InvalidInputError: the model is a GGUF file.
    """
    if model.is_gguf:
        raise InvalidInputError(
            f"{model.id!r} is a GGUF file, which Rune does not serve through vLLM.",
            next_step="Name the same model in safetensors, or serve it by llama.cpp.",
        )
    return model.path


def _check_extra(extra: Sequence[str]) -> None:
    for word in extra:
        option = word.split("=", 1)[0].replace("_", "-")
        # argparse also takes a unique beginning of an option for the option.
        if any(len(option) > 3 and ours.startswith(option) for ours in _OURS):
            raise InvalidInputError(
                f"{option} is Rune's to give to vLLM.",
                next_step=f"The server is only ever reached at {HOST}; use Rune's own options.",
            )
