"""What every test of the stand-in needs that runs an app's functions in the test's own process."""

import warnings

import pytest
from azure.functions._durable_functions import df_loads


@pytest.fixture(scope="session", autouse=True)
def _notice_of_the_sdk_is_given() -> None:
    """The SDK tells once per process, from inside whichever function comes first, that typing may be strict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        df_loads("null")
