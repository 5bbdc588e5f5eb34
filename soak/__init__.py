"""A soak: hundreds of good and bad streams at once through one mitmdump that records, for as long as one likes.

    scripts/soak 10

Each stream is one of `examples/fixtures`, paced or not. What the client was told, what the guard logged and what was
recorded are compared with what was sent, exchange by exchange, and mitmdump at the end with mitmdump at the start.
"""
