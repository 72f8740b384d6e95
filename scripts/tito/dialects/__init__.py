"""The report in the formats of other systems. Pure: a report in, text out."""
