"""The ladder's tests: ordinary pytest files, and the words they speak with."""
