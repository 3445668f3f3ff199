"""Traces for an OpenTelemetry collector, made of what goes on record anyway."""
