"""Operators over all labels that never hold a B x L or an L x D tensor. They see only `xmc.types`."""
