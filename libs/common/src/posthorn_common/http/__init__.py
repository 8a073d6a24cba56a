"""What every HTTP service of Posthorn shares: problems, ids, identity, pages, health."""
