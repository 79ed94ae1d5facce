"""Destinations of records. Each module holds one sink and its configuration; import from the module you need."""
