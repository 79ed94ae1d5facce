"""The clients of OpenAI and Anthropic, recorded without a framework around them; see `wrapping`."""
