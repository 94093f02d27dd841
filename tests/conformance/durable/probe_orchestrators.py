# ruff: noqa: E501, BLE001 - as it was recorded
"""Orchestrators and entities of the recorded app: each shows one part of the durable protocol."""

import datetime as dt

import azure.durable_functions as df

from tests.conformance.durable.probe_activities import Point, ProbeError, a_renamed

bp = df.Blueprint()
EntityId = df.EntityId
RetryOptions = df.RetryOptions


@bp.entity_trigger(context_name="context", entity_name="RenamedEntity")
def e_renamed(context):
    context.set_result([context.entity_name, context.entity_key, context.operation_name])


@bp.entity_trigger(context_name="context")
def e_counter(context):
    context.set_result(0)


@bp.orchestration_trigger(context_name="context")
def o_chain(context):
    given = context.get_input()
    seen = [context.is_replaying]
    context.set_custom_status({"step": 1})
    a = yield context.call_activity("a_echo", {"given": given})
    seen.append(context.is_replaying)
    context.set_custom_status({"step": 2})
    b = yield context.call_activity("a_type", [1, "two", None])
    seen.append(context.is_replaying)
    return {
        "a": a,
        "b": b,
        "replaying": seen,
        "now": str(context.current_utc_datetime),
        "guid": str(context.new_guid()),
        "uuid": context.new_uuid(),
        "version": getattr(context, "version", "absent"),
        "id": context.instance_id,
        "parent": context.parent_instance_id,
    }


@bp.orchestration_trigger(context_name="context")
def o_input(context):
    """How the input arrives. Never yields."""
    try:
        value = context.get_input()
        return {"type": type(value).__name__, "repr": repr(value)[:300]}
    except Exception as e:
        return {"raised": f"{type(e).__name__}: {e}"}


@bp.orchestration_trigger(context_name="context")
def o_body(context):
    """Everything on the context object that came from the wire."""
    yield context.call_activity("a_none", None)
    return {
        "function_context": {k: str(v)[:300] for k, v in vars(context.function_context).items()},
        "attributes": sorted(a for a in dir(context) if not a.startswith("_")),
    }


@bp.orchestration_trigger(context_name="context")
def o_fan(context):
    spec = context.get_input() or {}
    results = yield context.task_all([context.call_activity("a_echo", i) for i in range(spec.get("n", 3))])
    return results


@bp.orchestration_trigger(context_name="context", orchestration="RenamedOrchestrator")
def o_renamed(context):
    r = yield context.call_activity("RenamedActivity", 1)
    return r


@bp.orchestration_trigger(context_name="context")
def o_renamed_function_object(context):
    r = yield context.call_activity(a_renamed, 1)
    return r


@bp.orchestration_trigger(context_name="context")
def o_case(context):
    """Are activity names case sensitive?"""
    r = yield context.call_activity("A_ECHO", "upper")
    return r


@bp.orchestration_trigger(context_name="context")
def o_not_generator(context):
    return 42


@bp.orchestration_trigger(context_name="context")
def o_return(context):
    """Returns one of several outputs without a single task."""
    kind = (context.get_input() or {}).get("kind")
    return {
        "none": None,
        "zero": 0,
        "false": False,
        "empty": "",
        "text": "plain text",
        "json_text": '{"a": 1}',
        "list": [1, 2],
        "unicode": "é漢🚀",
        "big": "x" * 100_000,
        "set": {1, 2},
        "object": Point(1),
        "nan": float("nan"),
    }.get(kind, "unknown kind")


@bp.orchestration_trigger(context_name="context")
def o_empty_all(context):
    a = yield context.task_all([])
    b = yield context.task_any([])
    return {"all": repr(a), "any": repr(b)}


@bp.orchestration_trigger(context_name="context")
def o_unyielded(context):
    context.call_activity("a_echo", "never yielded")
    first, second = context.call_activity("a_echo", 1), context.call_activity("a_echo", 2)
    x = yield first
    y = yield second
    return [x, y]


@bp.orchestration_trigger(context_name="context")
def o_timer(context):
    spec = context.get_input()
    before = context.current_utc_datetime
    yield context.create_timer(before + dt.timedelta(seconds=spec["seconds"]))
    return {"asked": spec["seconds"], "passed": (context.current_utc_datetime - before).total_seconds()}


@bp.orchestration_trigger(context_name="context")
def o_any(context):
    """Race of an event and a timer. input = {"seconds": n, "cancel": bool}"""
    spec = context.get_input()
    timer = context.create_timer(context.current_utc_datetime + dt.timedelta(seconds=spec["seconds"]))
    event = context.wait_for_external_event("Approval")
    winner = yield context.task_any([event, timer])
    if winner == event:
        if spec.get("cancel", True) and not timer.is_completed:
            timer.cancel()
        return {"winner": "event", "value": event.result, "type": type(event.result).__name__}
    return {"winner": "timer"}


@bp.orchestration_trigger(context_name="context")
def o_any_loser(context):
    """The loser of a race is an activity that is still running."""
    fast = context.call_activity("a_echo", "fast")
    slow = context.call_activity("a_sleep", {"tag": context.instance_id, "ms": 3000})
    winner = yield context.task_any([fast, slow])
    return {"fast_won": winner == fast}


@bp.orchestration_trigger(context_name="context")
def o_fail_uncaught(context):
    yield context.call_activity("a_fail", context.get_input()["kind"])


@bp.orchestration_trigger(context_name="context")
def o_fail_caught(context):
    try:
        r = yield context.call_activity("a_fail", context.get_input()["kind"])
    except Exception as e:
        return {"type": type(e).__name__, "text": str(e)[:8000], "args": len(e.args)}
    return {"no error": repr(r)}


@bp.orchestration_trigger(context_name="context")
def o_all_one_fails(context):
    try:
        yield context.task_all(
            [
                context.call_activity("a_echo", 1),
                context.call_activity("a_fail", "value"),
                context.call_activity("a_sleep", {"tag": context.instance_id, "ms": 1500}),
            ]
        )
    except Exception as e:
        return {"text": str(e)[:300]}
    return "no error"


@bp.orchestration_trigger(context_name="context")
def o_any_fails(context):
    winner = yield context.task_any([context.call_activity("a_fail", "value")])
    return {"state": str(winner.state), "result": str(winner.result)[:300]}


@bp.orchestration_trigger(context_name="context")
def o_raise(context):
    kind = context.get_input()["kind"]
    yield context.call_activity("a_echo", kind)
    if kind == "key":
        raise KeyError("no such thing")
    if kind == "custom":
        raise ProbeError("custom message", 42)
    if kind == "empty":
        raise ValueError()
    if kind == "unicode":
        raise ValueError("失敗 🚀\nsecond line")
    if kind == "long":
        raise ValueError("y" * 100_000)
    yield 5  # "nontask"


@bp.orchestration_trigger(context_name="context")
def o_raise_not_generator(context):
    raise ValueError("raised before any task")


@bp.orchestration_trigger(context_name="context")
def o_raise_at_once(context):
    raise ValueError("raised by a generator at once")
    yield


@bp.orchestration_trigger(context_name="context")
def o_retry(context):
    """input = {"succeed_on": n, "attempts": m, "first_ms": ms, "catch": bool}"""
    spec = context.get_input()
    started = context.current_utc_datetime
    try:
        r = yield context.call_activity_with_retry(
            "a_flaky",
            RetryOptions(spec["first_ms"], spec["attempts"]),
            {"key": context.instance_id, "succeed_on": spec["succeed_on"]},
        )
    except Exception as e:
        if not spec.get("catch"):
            raise
        return {
            "caught": type(e).__name__,
            "text": str(e)[:400],
            "passed": (context.current_utc_datetime - started).total_seconds(),
        }
    return {"result": r, "passed": (context.current_utc_datetime - started).total_seconds()}


@bp.orchestration_trigger(context_name="context")
def o_child(context):
    spec = context.get_input() or {}
    if spec.get("wait"):
        yield context.create_timer(context.current_utc_datetime + dt.timedelta(seconds=spec["wait"]))
    if spec.get("fail"):
        yield context.call_activity("a_echo", 1)
        raise KeyError("child failed")
    r = yield context.call_activity("a_echo", spec)
    return {
        "echo": r,
        "id": context.instance_id,
        "parent": context.parent_instance_id,
        "version": getattr(context, "version", "absent"),
    }


@bp.orchestration_trigger(context_name="context")
def o_parent(context):
    """input = {"child": {...}, "id": text or absent, "version": text or absent, "retry": n or absent, "catch": bool, "name": orchestrator}"""
    spec = context.get_input()
    name = spec.get("name", "o_child")
    kwargs = {}
    if spec.get("version") is not None:
        kwargs["version"] = spec["version"]
    try:
        if spec.get("retry"):
            r = yield context.call_sub_orchestrator_with_retry(
                name, RetryOptions(1000, spec["retry"]), spec.get("child"), spec.get("id"), **kwargs
            )
        else:
            r = yield context.call_sub_orchestrator(name, spec.get("child"), spec.get("id"), **kwargs)
    except Exception as e:
        if not spec.get("catch"):
            raise
        return {"caught": type(e).__name__, "text": str(e)[:2000]}
    return r


@bp.orchestration_trigger(context_name="context")
def o_again_open_timer(context):
    """continue_as_new while a timer is open."""
    spec = context.get_input()
    if spec["n"] == 0:
        timer = context.create_timer(context.current_utc_datetime + dt.timedelta(seconds=4))
        quick = context.call_activity("a_echo", 1)
        yield context.task_any([quick, timer])
        context.continue_as_new({"n": 1, "at": str(context.current_utc_datetime)})
        return
    return {"first generation ended": spec["at"], "second began": str(context.current_utc_datetime)}


@bp.orchestration_trigger(context_name="context")
def o_status(context):
    """Sets each custom status in turn, with an activity after each. input = {"values": [...], "pause": seconds}"""
    spec = context.get_input()
    for value in spec["values"]:
        context.set_custom_status("s" * value["chars"] if isinstance(value, dict) and "chars" in value else value)
        yield context.call_activity("a_sleep", {"tag": context.instance_id, "ms": int(spec.get("pause", 0) * 1000)})
    return "done"


@bp.orchestration_trigger(context_name="context")
def o_unknown(context):
    """Calls something that does not exist. input = {"what": "activity"|"sub"|"entity"|"signal"}"""
    what = context.get_input()["what"]
    try:
        if what == "activity":
            yield context.call_activity("no_such_activity", 1)
        elif what == "sub":
            yield context.call_sub_orchestrator("no_such_orchestrator", 1)
        elif what == "entity":
            yield context.call_entity(EntityId("no_such_entity", "k"), "op")
        else:
            context.signal_entity(EntityId("no_such_entity", "k"), "op")
            yield context.call_activity("a_echo", 1)
    except Exception as e:
        return {"caught": type(e).__name__, "text": str(e)[:1500]}
    return "no error"


@bp.orchestration_trigger(context_name="context")
def o_big(context):
    """input = {"text": long text, "activity": size of an activity's result}"""
    spec = context.get_input()
    n = yield context.call_activity("a_len", spec["text"])
    r = yield context.call_activity("a_big", spec["activity"])
    return {"seen": n, "result": len(r), "output": "o" * spec["output"]}


@bp.orchestration_trigger(context_name="context")
def o_retry_race_cancel(context):
    """input = {"order": "retry"|"timer"}: the retrying activity wins after one retry, the losing timer is cancelled, then more work is scheduled."""
    order = (context.get_input() or {}).get("order")
    timer = context.create_timer(context.current_utc_datetime + dt.timedelta(seconds=30))
    retrying = context.call_activity_with_retry(
        "a_flaky", RetryOptions(2000, 5), {"key": context.instance_id, "succeed_on": 2}
    )
    winner = yield context.task_any([retrying, timer] if order == "retry" else [timer, retrying])
    if winner == retrying and not timer.is_completed:
        timer.cancel()
    r = yield context.call_activity("a_echo", "after the race")
    s = yield context.call_activity("a_echo2", "and more")
    return {
        "winner": "retry" if winner == retrying else "timer",
        "result": winner.result if winner == retrying else None,
        "after": [r, s],
    }
