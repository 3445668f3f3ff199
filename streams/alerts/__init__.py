"""Alerts: found in the record, raised once, ended when their cause is over, posted on."""
