"""`rune model pull` against a hub: whole models only, resumed, checked, and nothing that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_support import MODEL, SECONDS, WEIGHTS, Hub
from huggingface_hub import constants

import base_models
from rune_engine.config import load_config
from rune_engine.errors import (
    BaseModelCorruptedError,
    BaseModelNotFoundError,
    ConflictError,
    DiskFullError,
    InvalidInputError,
    ModelHubError,
)
from rune_engine.home import open_lock, try_lock
from rune_engine.model_store import store
from rune_engine.model_store.names import parse_or_refuse
from rune_engine.model_store.pull import interrupted
from rune_engine.model_store.resolve import resolve_trainable

QWEN = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
CONFIG = json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}).encode()


def pulled(hub: Hub, name: str = MODEL) -> store.PulledModel:
    found = store.find(hub.models, parse_or_refuse(name))
    assert found is not None
    return found


def parts(hub: Hub) -> list[Path]:
    return [*hub.models.glob(".partial/*/*.part")]


def test_a_model_is_pulled_with_its_commit_and_only_with_data(hub: Hub, tiny: Path) -> None:
    done = hub.rune("pull", MODEL)
    assert done.returncode == 0, done.stderr
    model = pulled(hub)
    names = {path.name for path in model.folder.iterdir()}
    assert names == {
        "chat_template.jinja", "config.json", "generation_config.json", WEIGHTS,
        "rune.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (model.folder / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes()
    described = base_models.describe(str(model.folder))
    assert described.id == f"{MODEL}@{model.source.commit[:12]}"
    assert model.source.commit == model.folder.name
    assert not list(hub.models.glob(".partial/*--*/"))


def test_the_hub_s_own_rune_json_does_not_name_the_model(hub: Hub, tiny: Path) -> None:
    assert base_models.describe(str(tiny)).id == "rune-nano-1.0"
    assert hub.pull(MODEL).id.startswith(MODEL)


def test_a_second_pull_only_asks_which_commit_it_is(hub: Hub, tiny: Path) -> None:
    first = hub.pull(MODEL)
    before = len(hub.requests())
    assert hub.pull(MODEL) == first
    assert [r["path"].split("?")[0] for r in hub.requests()[before:]] == [
        f"/api/models/{MODEL}/revision/main"
    ]


def test_a_later_commit_is_pulled_beside_the_first(hub: Hub, tiny: Path) -> None:
    first = hub.pull(MODEL)
    (tiny / "LICENSE").write_text("as you like")
    second = hub.pull(MODEL)
    assert second.id != first.id and pulled(hub) == second
    assert pulled(hub, f"{MODEL}@{first.source.commit[:7]}") == first


def test_a_connection_that_breaks_midway_is_taken_up_where_it_was(hub: Hub, tiny: Path) -> None:
    hub.fail(drop_after={WEIGHTS: 1_000_000})
    model = hub.pull(MODEL)
    assert (model.folder / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes()
    ranges = [r["range"] for r in hub.requests() if r["path"].startswith("/lfs/")]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_killed_pull_looks_like_nothing_and_the_next_goes_on(hub: Hub, tiny: Path) -> None:
    hub.fail(slow={WEIGHTS: 0.2})
    with subprocess.Popen(hub.command("pull", MODEL), env=hub.environment()) as process:
        deadline = time.monotonic() + SECONDS
        while sum(part.stat().st_size for part in parts(hub)) < 500_000:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert store.pulled(hub.models) == [] and interrupted(hub.models) == [MODEL]
    offline = hub.rune("pull", MODEL, "--offline")
    assert offline.returncode == 1 and f"missing: {WEIGHTS} (" in offline.stderr
    [part] = parts(hub)
    kept = part.stat().st_size
    hub.fail()
    model = hub.pull(MODEL)
    assert hub.requests()[-1]["range"] == f"bytes={kept}-"
    assert (model.folder / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes()


def test_a_corrupted_byte_is_found_and_nothing_of_it_is_kept(hub: Hub, tiny: Path) -> None:
    for name in ("tokenizer.json", WEIGHTS):  # Git's hash and SHA-256
        hub.fail(flip=[name])
        with pytest.raises(BaseModelCorruptedError, match=f"sent {name}"):
            hub.pull(MODEL)
        assert store.pulled(hub.models) == [] and parts(hub) == []
    hub.fail()
    store.verify(hub.pull(MODEL))


def test_damage_in_what_an_interrupted_pull_left_is_downloaded_again(hub: Hub, tiny: Path) -> None:
    hub.leave_part(tiny / WEIGHTS, b"\0" * 700_000)  # as after a power failure
    came = []
    model = hub.pull(MODEL, report=lambda name, size, total: came.append((size, total)))
    assert (model.folder / WEIGHTS).read_bytes() == (tiny / WEIGHTS).read_bytes()
    assert {sum(size for size, _ in came)} == {total for _, total in came} == {model.size}


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(hub: Hub, tiny: Path) -> None:
    hub.leave_part(tiny / WEIGHTS, (tiny / WEIGHTS).read_bytes()[:900_000])
    hub.fail(no_range=[WEIGHTS])
    store.verify(hub.pull(MODEL))
    assert [r["range"] for r in hub.requests() if r["path"].startswith("/lfs/")] == [
        "bytes=900000-"
    ]


def test_too_little_disk_is_said_before_anything_is_downloaded(hub: Hub, tiny: Path) -> None:
    hub.fail(sizes={WEIGHTS: 10**16})
    with pytest.raises(DiskFullError, match=r"needs 10000000\.00 GB more"):
        hub.pull(MODEL)
    assert [r for r in hub.requests() if not r["path"].startswith("/api/")] == []


def test_offline_says_that_nothing_is_here_and_asks_nobody(hub: Hub, tiny: Path) -> None:
    done = hub.rune("pull", MODEL, HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and f"Nothing of {MODEL} is on this machine" in done.stderr
    assert hub.requests() == []
    model = hub.pull(MODEL)
    before = len(hub.requests())
    assert hub.pull(MODEL, offline=True) == model
    assert len(hub.requests()) == before


def test_a_hub_without_the_model_or_out_of_reach_is_said(
    hub: Hub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme/nothing", f"{MODEL}@v9"):
        with pytest.raises(BaseModelNotFoundError, match="is not on the hub"):
            hub.pull(name)
    hub.fail(status={MODEL: 503})
    with pytest.raises(ModelHubError, match="cannot be reached: status 503"):
        hub.pull(MODEL)
    hub.fail(status={MODEL: 403})
    with pytest.raises(ModelHubError) as refused:
        hub.pull(MODEL)
    assert "HF_TOKEN" in refused.value.next_step
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelHubError, match="cannot be reached"):
        hub.pull(MODEL)


def test_a_pull_that_another_process_is_doing_is_not_done_twice(hub: Hub, tiny: Path) -> None:
    hub.leave_part(tiny / WEIGHTS, b"")
    lock = open_lock(hub.models / ".partial" / "acme--tiny-coder.lock")
    assert try_lock(lock)
    with pytest.raises(ConflictError, match="Another process is pulling"):
        hub.pull(MODEL)
    os.close(lock)
    hub.pull(MODEL)


def test_pickled_weights_and_other_kinds_of_models_are_refused(hub: Hub) -> None:
    hub.add("acme/pickled", config_json=CONFIG, pytorch_model_bin=b"x")
    with pytest.raises(BaseModelNotFoundError, match="pickled weights can run code"):
        hub.pull("acme/pickled")
    encoder = b'{"architectures": ["BertForMaskedLM"]}'
    hub.add("acme/encoder", config_json=encoder, model_safetensors=b"x" * 1000)
    with pytest.raises(InvalidInputError, match="BertForMaskedLM"):
        hub.pull("acme/encoder")
    assert not [r for r in hub.requests() if r["path"].startswith("/lfs/")]


def test_a_gguf_file_and_the_safetensors_of_a_known_model_share_their_id(hub: Hub) -> None:
    hub.add(QWEN, config_json=CONFIG, model_safetensors=b"weights")
    stem = "qwen2.5-coder-0.5b-instruct"
    folder = hub.add(f"{QWEN}-GGUF", README_md=b"")
    for name in (f"{stem}-q4_k_m", f"{stem}-q8_0-00001-of-00002", f"{stem}-q8_0-00002-of-00002"):
        header = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
        (folder / f"{name}.gguf").write_bytes(header + name.encode())
    whole, gguf = (hub.pull(name) for name in ("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b:q8_0"))
    assert (whole.name, gguf.name) == ("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b:q8_0")
    assert whole.id == gguf.id == base_models.describe(str(gguf.path)).id == stem
    assert gguf.gguf == [f"{stem}-q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    config = load_config(home=hub.home)
    trained = resolve_trainable("qwen2.5-coder-0.5b:q8_0", config)
    assert trained.path == whole.folder.resolve() and trained.distillation["rank"] == 16
    with pytest.raises(InvalidInputError, match=f"{stem}-q4_k_m, {stem}-q8_0"):
        hub.pull(f"{QWEN}-GGUF")


def test_a_file_that_changed_on_the_disk_is_found(hub: Hub, tiny: Path) -> None:
    model = hub.pull(MODEL)
    store.verify(model)
    file = model.folder / WEIGHTS
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    found = hub.rune("info", MODEL, "--verify")
    assert found.returncode == 1 and "is not the file that was pulled" in found.stderr


def test_a_removed_model_is_gone_and_can_be_pulled_again(hub: Hub, tiny: Path) -> None:
    hub.pull(f"{MODEL}@v1")
    store.delete(hub.models, parse_or_refuse(MODEL))
    assert store.pulled(hub.models) == []
    with pytest.raises(BaseModelNotFoundError, match="was not pulled"):
        store.delete(hub.models, parse_or_refuse(MODEL))
    assert hub.pull(MODEL).folder.is_dir()


def test_pulling_and_listing_import_no_torch(hub: Hub, tiny: Path) -> None:
    code = (
        "import sys\n"
        "from rune_engine.cli import main\n"
        f"main.app(['model', 'pull', '{MODEL}'], standalone_mode=False)\n"
        "main.app(['model', 'list'], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=hub.environment(), check=True, timeout=SECONDS)
