"""One invocation: a function called with its inputs, and what came of it.

`async def` functions run on the one loop, plain ones in a thread pool; all are called with keyword arguments only. Out
bindings are collected and handed back together with the result, after the function has returned: nothing is flushed
earlier, and nothing at all after an exception. A call that takes longer than host.json's `functionTimeout` is
cancelled; a plain function cannot be, its thread goes on while the call has failed.

An error is logged here, once, with the function's name and the invocation id, and never with a request's content.
"""

import asyncio
import concurrent.futures
import contextvars
import logging
import os
import secrets
import threading
import traceback
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stand_in.host import conversion
from stand_in.host.errors import InvocationFailed, InvocationTimedOut
from stand_in.host.function import Function

logger = logging.getLogger(__name__)

DEFAULT_THREADS = 1000  # what the host sets for the worker when PYTHON_THREADPOOL_THREAD_COUNT is absent
_OWN_PLACES = (os.path.dirname(__file__), os.path.dirname(concurrent.futures.__file__))
# What the SDK appends to an orchestrator's exception: the state for the extension, with inputs that no log should have.
_STATE_MARKER = "$OutOfProcData$"

current_invocation: contextvars.ContextVar["Context | None"] = contextvars.ContextVar(
    "current_invocation", default=None
)
_thread_local = threading.local()


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The W3C trace that this call belongs to."""

    trace_parent: str
    trace_state: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetryContext:
    """How often this call was tried before."""

    retry_count: int = 0
    max_retry_count: int = 0
    exception: Exception | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a function gets as `context`: the same attributes as the worker's."""

    invocation_id: str
    function_name: str
    function_directory: str
    trace_context: TraceContext
    retry_context: RetryContext

    @property
    def thread_local_storage(self) -> threading.local:
        return _thread_local


class Out:
    """The value of an out binding, set by the function."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, value: Any) -> None:
        self._value = value

    def get(self) -> Any:
        return self._value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a function returned, and the typed data of the out bindings that it set."""

    value: Any
    outputs: Mapping[str, Any]


def new_context(
    function: Function,
    traceparent: str | None = None,
    tracestate: str | None = None,
    *,
    is_traced: bool = True,
    retry: RetryContext | None = None,
) -> Context:
    """The context of a new call; it continues the caller's trace when there is one. Timers have none."""
    trace_parent = _child_of(traceparent) if traceparent else new_traceparent()
    return Context(
        invocation_id=str(uuid.uuid4()),
        function_name=function.name,
        function_directory=function.directory,
        trace_context=TraceContext(trace_parent if is_traced else "", tracestate or ""),
        retry_context=retry or RetryContext(),
    )


def _child_of(traceparent: str) -> str:
    """A new span of the caller's trace; a header that is no traceparent begins a new one."""
    parts = traceparent.split("-")
    if len(parts) != 4 or len(parts[1]) != 32:
        return new_traceparent()
    return f"{parts[0]}-{parts[1]}-{secrets.token_hex(8)}-{parts[3]}"


def new_traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


class Invocations:
    """Runs functions. One for the whole process: it owns the thread pool."""

    def __init__(self, *, timeout: timedelta | None, threads: int = DEFAULT_THREADS) -> None:
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="function")

    async def run(self, function: Function, inputs: Mapping[str, Any], context: Context) -> Outcome:
        """Call the function with inputs that are already what it should see. Raises InvocationFailed."""
        token = current_invocation.set(context)
        try:
            return await self._run(function, dict(inputs), context)
        except InvocationFailed:
            raise
        except Exception as error:
            text = failure_text(error)
            logger.error(
                "Exception while executing function: %s (invocation %s)\n%s",
                function.name,
                context.invocation_id,
                text.partition(_STATE_MARKER)[0],
                extra={"function": function.name, "invocation_id": context.invocation_id},
            )
            raise InvocationFailed(text) from error
        finally:
            current_invocation.reset(token)

    async def _run(self, function: Function, arguments: dict[str, Any], context: Context) -> Outcome:
        outs = {name: Out() for name in function.signature.outputs}
        arguments.update(outs)
        if function.signature.requires_context:
            arguments["context"] = context
        _thread_local.invocation_id = context.invocation_id
        value = await self._call(function, arguments, context)
        if value is not None and function.signature.returns is None:
            raise RuntimeError(f"function {function.name!r} without a $return binding returned a non-None value")
        outputs = {
            name: conversion.encode(function.signature.outputs[name], out.get())
            for name, out in outs.items()
            if out.get() is not None
        }
        return Outcome(value, outputs)

    async def _call(self, function: Function, arguments: dict[str, Any], context: Context) -> Any:
        seconds = self._timeout.total_seconds() if self._timeout is not None else None
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                if function.is_async:
                    return await function.call(**arguments)
                values = contextvars.copy_context()
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, values.run, _call_in_thread, function, arguments, context.invocation_id
                )
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise InvocationTimedOut(self._timeout_text(function, context)) from error

    def _timeout_text(self, function: Function, context: Context) -> str:
        text = (
            f"Timeout value of {self._timeout} exceeded by function 'Functions.{function.name}' "
            f"(Id: '{context.invocation_id}'). Initiating cancellation."
        )
        logger.error("%s", text)
        return text

    def close(self) -> None:
        """Let go of the pool. Threads that still run a function are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call_in_thread(function: Function, arguments: dict[str, Any], invocation_id: str) -> Any:
    _thread_local.invocation_id = invocation_id
    try:
        return function.call(**arguments)
    finally:
        _thread_local.invocation_id = None


def failure_text(error: BaseException) -> str:
    """What the worker reports of an exception; the host's own frames at the top of the stack are left out."""
    frames = traceback.extract_tb(error.__traceback__)
    own = 0
    while own < len(frames) and frames[own].filename.startswith(_OWN_PLACES):
        own += 1
    kept = frames[own:] or frames
    stack = "".join(traceback.format_list(kept))
    return f"Result: Failure\nException: {type(error).__name__}: {error}\nStack: {stack}"
