"""People: who logs in at a provider of OpenID Connect, or comes through a proxy that knows them, and what they may."""
