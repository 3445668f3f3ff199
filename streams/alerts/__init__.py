"""What is worth an alert, raised once, ended when it is over, and sent on."""
