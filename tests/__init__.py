"""Tests of the integration and of the library it stands on."""
