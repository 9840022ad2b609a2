"""A load test: paced streams of real speech, and truth-based figures of what came back and when."""
