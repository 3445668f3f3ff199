"""Which call comes next, and what follows a failed one; pure."""
