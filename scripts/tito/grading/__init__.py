"""Run the ladder: the trusted pytest session, and what its outcome is worth."""
