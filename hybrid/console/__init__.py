"""The operator's pages: what needs somebody, what it costs, and what puts it right."""
