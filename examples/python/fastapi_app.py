"""A FastAPI application with timbre inside: POST /api/v1/voice-clone-enhanced.

    pip install timbre fastapi uvicorn
    uvicorn fastapi_app:app

Each field is one value, which serves all items, or a list with one for each. `ref_audio` is base64, a data: URI, or a
path below TIMBRE_AUDIO_ROOT. An item that fails has `error` and leaves the others alone.
"""

import base64
import binascii
import contextlib
import os
import pathlib
import time
from typing import Any, AsyncIterator, Dict, List, Optional, Union

import timbre
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field


class CloneBody(BaseModel):
    text: Union[str, List[str]]
    ref_audio: Union[str, List[Optional[str]], None] = None
    ref_text: Union[str, List[Optional[str]], None] = None
    language: Union[str, List[Optional[str]], None] = None
    custom_id: Union[str, List[Optional[str]], None] = None
    temperature: Union[float, List[Optional[float]], None] = Field(default=None)
    seed: Union[int, List[Optional[int]], None] = None
    run_pre_processing: bool = True
    run_post_processing: bool = True


def reference(value: Optional[str]) -> Union[bytes, pathlib.Path, None]:
    """The recording that a request means."""
    if value is None:
        return None
    root = os.environ.get("TIMBRE_AUDIO_ROOT")
    if root and len(value) < 1024:
        path = pathlib.Path(root, value).resolve()
        if path.is_relative_to(pathlib.Path(root).resolve()) and path.is_file():
            return path
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except binascii.Error:
        raise HTTPException(422, "ref_audio is neither base64 nor a file that may be used") from None


def items_of(body: CloneBody) -> List[Dict[str, Any]]:
    """One mapping for each text."""
    texts = body.text if isinstance(body.text, list) else [body.text]
    items: List[Dict[str, Any]] = [{"text": text} for text in texts]
    for name in ("ref_audio", "ref_text", "language", "custom_id", "temperature", "seed"):
        value = getattr(body, name)
        values = value if isinstance(value, list) else [value]
        if len(values) == 1:
            values = values * len(texts)
        if len(values) != len(texts):
            raise HTTPException(422, f"{name} has {len(values)} values for {len(texts)} texts")
        for item, one in zip(items, values):
            item[name] = reference(one) if name == "ref_audio" else one
    return items


@contextlib.asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    with timbre.Pipeline(engine=os.environ.get("TIMBRE_ENGINE")) as pipeline:
        application.state.pipeline = pipeline
        yield


app = FastAPI(lifespan=lifespan)


def answer(item: Dict[str, Any], ended: Union[timbre.Speech, timbre.Error]) -> Dict[str, Any]:
    if isinstance(ended, timbre.Error):
        return {"custom_id": item["custom_id"], "error": str(ended), "audio_base64": None}
    return {
        "custom_id": item["custom_id"],
        "audio_base64": base64.b64encode(ended.to_bytes("wav")).decode(),
        "sample_rate": ended.rate,
        "duration": ended.duration,
        "engine": ended.engine,
        "is_clone": ended.is_clone,
        "finish_reason": ended.finish_reason,
        "seed": ended.seed,
        "timings": ended.timings,
        "warnings": ended.warnings,
    }


@app.post("/api/v1/voice-clone-enhanced")
async def voice_clone_enhanced(request: Request, body: CloneBody) -> Dict[str, Any]:
    start = time.perf_counter()
    items = items_of(body)
    stages = {"run_pre_processing": body.run_pre_processing, "run_post_processing": body.run_post_processing}
    answers: List[Any] = [None] * len(items)
    async for ended in request.app.state.pipeline.aclone_batch(
        [{**item, **stages} for item in items], return_exceptions=True
    ):
        answers[ended.index] = answer(items[ended.index], ended)
    return {"items": answers, "performance": time.perf_counter() - start}
