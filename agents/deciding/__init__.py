"""The decisions about an intent: routes, policy, failures, budgets, hedges, caching; pure."""
