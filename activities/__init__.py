"""One effect each."""
