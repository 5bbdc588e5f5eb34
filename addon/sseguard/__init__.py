"""sseguard: event streams from LLM APIs that tell the truth."""

__version__ = "0.1.0"
