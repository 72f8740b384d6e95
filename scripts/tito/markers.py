"""What encloses a solution, and later its stub, in a module file."""

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
