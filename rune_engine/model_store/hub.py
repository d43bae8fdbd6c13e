"""The model hub, through `huggingface_hub`: which files a model has, and a stream of one's bytes.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the proxies are obeyed as that library obeys them.
It is imported at the first call only. Knows nothing of disks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from rune_engine.errors import BaseModelNotFoundError, ModelHubError, RuneError
from rune_engine.extras import require
from rune_engine.model_store.names import Reference
from rune_engine.model_store.store import StoredFile
from rune_engine.models.base import Model

if TYPE_CHECKING:
    import httpx2

_SECONDS = 30.0
"""Without a byte from the hub, after which a request has failed."""


class Listing(Model):
    """A model's files at one commit."""

    repository: str
    revision: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    licence: str | None = None
    files: list[StoredFile]


class HubUnreachableError(Exception):
    """The hub gave no answer, or not all of it; the same request may succeed later."""


def is_offline() -> bool:
    """Whether the environment forbids asking the hub."""
    require("models", "Downloading base models")
    from huggingface_hub import constants

    return constants.is_offline_mode()


def listing(wanted: Reference) -> Listing:
    """Ask the hub for a model's files.

    Raises:
        BaseModelNotFoundError: the hub has no such model or revision, or hides it from us.
        ModelHubError: it cannot be reached, or its answer makes no sense.
    """
    from huggingface_hub import HfApi, constants

    # What the hub is told is which model; not which editor or agent runs Rune, nor which torch.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    revision = wanted.revision or "main"
    try:
        with _errors_of(wanted):
            found = HfApi().model_info(
                wanted.repository, revision=revision, files_metadata=True, timeout=_SECONDS
            )
        card: Any = found.card_data or {}
        return Listing(
            repository=wanted.repository,
            revision=revision,
            commit=found.sha or "",
            licence=card.get("license_name") or card.get("license"),
            files=[_file(sibling) for sibling in found.siblings or ()],
        )
    except HubUnreachableError as error:
        raise unreachable(error) from error
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ModelHubError(
            f"The hub's answer about {wanted} makes no sense: {error}",
            next_step="Check HF_ENDPOINT, and whether a proxy answers in its place.",
        ) from error


@contextmanager
def stream(found: Listing, file: StoredFile, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """A file's bytes from `offset` on; yields where they really begin, and the bytes.

    Raises:
        HubUnreachableError: the connection failed, at once or on the way.
        BaseModelNotFoundError: the hub does not let us have the file.
        ModelHubError: it refused for another reason.
    """
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    url = hf_hub_url(found.repository, file.name, revision=found.commit)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    wanted = Reference(found.repository, found.commit)
    with (
        _errors_of(wanted),
        get_session().stream("GET", url, headers=headers, timeout=_SECONDS) as response,
    ):
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        yield _beginning(response, offset), response.iter_bytes()


def unreachable(error: Exception) -> ModelHubError:
    """The error for a hub that gives no answer."""
    from huggingface_hub import constants

    return ModelHubError(
        f"The model hub {constants.ENDPOINT} cannot be reached: {error}",
        next_step="Try again when the network is there: what was downloaded is kept. A model "
        "that is on this disk already can be named by its folder.",
    )


def _beginning(response: httpx2.Response, offset: int) -> int:
    """Where the body begins: a server may ignore the range and send everything."""
    if response.status_code != 206:
        return 0
    told = response.headers.get("content-range", "")
    if not told.startswith(f"bytes {offset}-"):
        raise HubUnreachableError(f"it was asked for bytes from {offset} and sent {told or 'some'}")
    return offset


@contextmanager
def _errors_of(wanted: Reference) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise _hidden(wanted, "asks you to accept its licence first") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        raise _hidden(wanted, "is not on the hub, or it is private") from error
    except HFValidationError as error:
        raise BaseModelNotFoundError(f"{wanted} cannot be a model's name: {error}") from error
    except HfHubHTTPError as error:
        if error.response.status_code in (408, 429) or error.response.status_code >= 500:
            raise HubUnreachableError(f"status {error.response.status_code}") from error
        raise ModelHubError(
            f"The hub refused {wanted}: {error}",
            next_step="Check HF_TOKEN and HF_ENDPOINT.",
        ) from error
    except OfflineModeIsEnabled as error:
        raise ModelHubError(
            "HF_HUB_OFFLINE forbids asking the hub.", next_step="Unset it to download."
        ) from error
    except (httpx2.TransportError, httpx2.DecodingError, httpx2.InvalidURL) as error:
        raise HubUnreachableError(str(error) or type(error).__name__) from error


def _hidden(wanted: Reference, why: str) -> RuneError:
    return BaseModelNotFoundError(
        f"{wanted} {why}.",
        next_step="Check the name. For a private model or one with a licence to accept: accept it "
        "on the hub's page, then run `hf auth login` or set HF_TOKEN.",
    )


def _file(sibling: Any) -> StoredFile:
    """A file with the hash that the hub gives: of large files SHA-256, of others Git's."""
    large = sibling.lfs
    return StoredFile(
        name=sibling.rfilename,
        size=large.size if large else sibling.size,
        algorithm="sha256" if large else "git-sha1",
        digest=large.sha256 if large else sibling.blob_id,
    )
