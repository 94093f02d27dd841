"""The steps of a long-running thing: decides, touches nothing."""
