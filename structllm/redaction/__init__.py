"""Redaction: what secrets and personal data look like, how they are found in texts and what takes their place."""
