"""The demo: an agent, a model of rules, real prices, and everything recorded."""
