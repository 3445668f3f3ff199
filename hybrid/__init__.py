"""Operate: the commands, the local stack, logs, metrics, the doctor, the demo."""
