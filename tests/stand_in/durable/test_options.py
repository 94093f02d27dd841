"""What host.json says, and what it may not say."""

import pytest

from stand_in.durable.errors import InvalidOptions
from stand_in.durable.options import DurableOptions, VersionFailure, VersionMatch
from stand_in.durable.versions import compare, is_accepted


def test_settings_are_read_in_any_case():
    options = DurableOptions.from_host_json(
        {
            "hubName": "MyHub",
            "DefaultVersion": "2.0",
            "versionMatchStrategy": "Strict",
            "versionFailureStrategy": "Fail",
            "maxConcurrentActivityFunctions": 40,
            "maxConcurrentOrchestratorFunctions": 20,
            "maxConcurrentEntityFunctions": 3,
            "maxEntityOperationBatchSize": 2,
            "storeInputsInOrchestrationHistory": True,
            "overridableExistingInstanceStates": "AnyState",
            "httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": 5},
            "storageProvider": {"type": "AzureStorage"},
            "tracing": None,
        }
    )

    assert options == DurableOptions(
        hub_name="MyHub",
        default_version="2.0",
        version_match=VersionMatch.STRICT,
        version_failure=VersionFailure.FAIL,
        max_concurrent_activities=40,
        max_concurrent_orchestrators=20,
        max_concurrent_entities=3,
        max_entity_batch=2,
        store_inputs=True,
        override_any_state=True,
        http_sleep_ms=5,
    )


def test_keys_that_the_extension_does_not_have_are_reported_by_name():
    assert DurableOptions.from_host_json({"hubname": "MyHub", "maxActivities": 3}).unknown_keys == ("maxActivities",)


@pytest.mark.parametrize(
    "section",
    [
        {"hubName": "no-dashes"},
        {"hubName": "1st"},
        {"extendedSessionsEnabled": True},
        {"versionMatchStrategy": "Newest"},
        {"overridableExistingInstanceStates": "Some"},
        {"maxConcurrentActivityFunctions": 0},
    ],
)
def test_what_the_extension_refuses_is_refused(section: dict[str, object]):
    with pytest.raises(InvalidOptions):
        DurableOptions.from_host_json(section)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(None, True), ("1.0", True), ("1.10", True), ("2.0", True), ("2.0.0", False), ("3.0", False), ("abc", False)],
)
def test_current_or_older_versions_run(version: str | None, accepted: bool):
    """Recorded: under the default version 2.0."""
    assert is_accepted(version, DurableOptions(default_version="2.0")) is accepted


def test_without_a_default_every_version_is_a_mismatch():
    assert not is_accepted("1.5", DurableOptions())
    assert is_accepted("1.5", DurableOptions(version_match=VersionMatch.NONE))


def test_strict_takes_equal_versions_only():
    strict = DurableOptions(default_version="2.0", version_match=VersionMatch.STRICT)

    assert is_accepted("2.0", strict)
    assert not is_accepted("1.0", strict)


def test_versions_compare_by_number_and_else_as_text():
    assert compare("1.9", "1.10") < 0
    assert compare("", "1") < 0
    assert compare("", "") == 0
    assert compare("B", "a") > 0
