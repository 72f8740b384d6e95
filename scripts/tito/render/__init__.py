"""Turn a report into text: badges, a timeline, a summary. Pure: no clock, no files, same bytes."""
