"""Operate: the command, the local stack, the console, the doctor."""
