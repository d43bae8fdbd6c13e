"""The REST routes of capture, each a thin door to one operation."""

from __future__ import annotations

from fastapi import APIRouter

from rune_engine.models import (
    CaptureParams,
    CaptureReport,
    CaptureStatus,
    Identifier,
    Provenance,
    SourceParams,
)
from rune_engine.service.routes import TheEngine

router = APIRouter(prefix="/capture")


@router.get("")
def capture_status(engine: TheEngine) -> CaptureStatus:
    return engine.captures.status()


@router.post("/import")
def capture_import(engine: TheEngine, params: CaptureParams) -> CaptureReport:
    return engine.captures.import_path(params)


@router.post("/sources")
def capture_allow(engine: TheEngine, params: SourceParams) -> CaptureStatus:
    return engine.captures.set_source(params)


@router.get("/provenance/{trajectory_id}")
def provenance(engine: TheEngine, trajectory_id: Identifier) -> Provenance:
    return engine.captures.provenance(trajectory_id)
