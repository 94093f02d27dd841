"""Every history event and every action of the real SDK is handled here, or refused by name."""

import inspect
from pathlib import Path

import azure.durable_functions as df
import pytest
from azure.durable_functions.models.actions.ActionType import ActionType as SdkActionType
from azure.durable_functions.models.history.HistoryEventType import HistoryEventType as SdkEventType

from stand_in.durable import replay
from stand_in.durable.actions import ActionType, action_type
from stand_in.durable.errors import UnsupportedAction
from stand_in.durable.history import NEVER_WRITTEN, EventType


def test_every_event_type_of_the_sdk_is_known():
    assert {event.value for event in SdkEventType} == {event.value for event in EventType}


def test_every_event_type_that_is_ever_written_is_processed():
    """ORCHESTRATOR_STARTED gives the replay its time, outside the table."""
    assert set(replay._HANDLERS) == set(EventType) - NEVER_WRITTEN - {EventType.ORCHESTRATOR_STARTED}


def test_every_action_type_of_the_sdk_is_known_and_invoked():
    assert {action.value for action in SdkActionType} <= {action.value for action in ActionType}
    assert set(replay._ACTIONS) == set(ActionType)


def test_an_action_of_a_later_sdk_is_refused_by_its_number():
    with pytest.raises(UnsupportedAction, match="action type 99"):
        action_type({"actionType": 99})


def test_every_call_of_the_sdks_client_is_made_in_the_tests_of_the_api():
    """A method that a later SDK adds shows up here."""
    tests = (Path(__file__).parents[1] / "host" / "test_durable_http_api.py").read_text()
    calls = {
        name
        for name, method in inspect.getmembers(df.DurableOrchestrationClient, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }

    assert {name for name in calls if f".{name}(" not in tests} == set()
