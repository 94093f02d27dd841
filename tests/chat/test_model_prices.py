"""Model prices: what a call cost by the operator's table."""

import pytest

from chat.model_prices import ModelPrices, tokens_of

TABLE = '{"gpt-4o": {"prompt": 5, "completion": 20}, "gpt-4o-mini": {"prompt": 1, "completion": 4, "cached": 0.5}}'


def test_a_call_costs_its_tokens_by_the_longest_name_that_fits():
    prices = ModelPrices(TABLE)
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000}
    assert prices.cost("gpt-4o-mini-2024-07-18", usage) == pytest.approx(1 + 2)
    assert prices.cost("gpt-4o-2024-11-20", usage) == pytest.approx(5 + 10)


def test_cached_tokens_have_their_own_price_where_the_table_gives_one():
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 400}}
    assert ModelPrices(TABLE).cost("gpt-4o-mini", usage) == pytest.approx((600 * 1 + 400 * 0.5) / 1e6)
    assert ModelPrices(TABLE).cost("gpt-4o", usage) == pytest.approx(1000 * 5 / 1e6)


def test_both_apis_names_of_tokens_are_known():
    given = {"input_tokens": 3, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 1}}
    assert tokens_of(given) == (3, 4, 1)
    assert tokens_of({"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": None}) == (3, 0, 0)
    assert tokens_of(None) == (0, 0, 0)


@pytest.mark.parametrize(("model", "usage"), [("o3", {"prompt_tokens": 1}), ("gpt-4o", None), ("gpt-4o", {})])
def test_without_a_price_or_usage_the_cost_is_not_known(model: str, usage: dict[str, int] | None):
    assert ModelPrices(TABLE).cost(model, usage) is None


@pytest.mark.parametrize(
    "setting",
    [
        "x",
        "[]",
        '{"m": 5}',
        '{"m": {"prompt": 1}}',
        '{"m": {"prompt": 1, "completion": "2"}}',
        '{"m": {"prompt": 1, "completion": -2}}',
        '{"m": {"prompt": true, "completion": 2}}',
        '{"m": {"prompt": 1, "completion": 2, "input": 3}}',
    ],
)
def test_a_table_that_makes_no_sense_is_refused(setting: str):
    with pytest.raises(ValueError, match="must"):
        ModelPrices(setting)


def test_no_table_is_no_prices():
    assert ModelPrices(None).cost("gpt-4o", {"prompt_tokens": 1}) is None
