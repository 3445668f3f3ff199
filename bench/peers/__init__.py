"""The product beside other ways to do the same job, each in an environment of its own."""
