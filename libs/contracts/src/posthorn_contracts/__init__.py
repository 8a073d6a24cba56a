"""Posthorn's contracts: what services say to each other, and nothing that they do.

Events live in the folder of the service that publishes them (`campaigns/v1.py`), models of internal HTTP
answers beside them (`campaigns/internal_v1.py`). Only optional fields may be added to a published version.
"""
