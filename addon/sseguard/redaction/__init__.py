"""No secrets on disk: what a recorder writes goes through here first."""
