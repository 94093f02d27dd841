"""Reconciliation: what was accepted, held against what the log has."""

from chat.reconciliation import Reconciliation


def test_all_that_was_accepted_and_logged_is_sound():
    found = Reconciliation()
    found.expect(["a", "b"])
    found.expect_logged(["a", "b"])
    found.see("a", b"1")
    found.see("b", b"2")
    assert found.sound
    assert (found.missing, found.waiting, found.doubled, found.different, found.unknown) == ([], [], {}, [], [])
    assert found.records == 2


def test_what_counts_as_logged_and_is_not_in_the_hub_is_missing():
    """Also when its blob is still there: the hub had said that it has it."""
    found = Reconciliation()
    found.expect(["a"])
    found.expect_logged(["a"])
    assert found.missing == ["a"]
    assert not found.sound


def test_what_is_not_logged_yet_waits_and_is_no_fault():
    found = Reconciliation()
    found.expect(["a", "b"])
    found.see("b", b"1")
    assert (found.waiting, found.missing, found.sound) == (["a"], [], True)


def test_equal_copies_are_no_fault_and_differing_ones_are():
    found = Reconciliation()
    found.expect_logged(["a", "b"])
    for name, body in (("a", b"1"), ("a", b"1"), ("b", b"1"), ("b", b"2")):
        found.see(name, body)
    assert found.doubled == {"a": 2, "b": 2}
    assert found.different == ["b"]
    assert not found.sound


def test_records_of_another_time_are_left_out_and_others_are_named():
    found = Reconciliation()
    found.leave_out(["of-yesterday"])
    found.see("of-yesterday", b"1")
    found.see("of-nobody", b"1")
    assert found.unknown == ["of-nobody"]
    assert found.records == 1
    assert found.sound
