"""The commands, by who uses them: the stack, operators, data in and out, costs."""
