"""Compose files as definitions: what compose-go 2.16.1 makes of the services' ``build``, without the rest."""
