"""Steps of the chain, each a plain structlog processor. Import from the module you need.

In order: `context`, `normalise`, `price`, `redact`, `truncate`, `observe`, `render`.
"""
