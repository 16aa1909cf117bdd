"""How commands show what happens: views and tables. No settings, and no requests but those of a view."""
