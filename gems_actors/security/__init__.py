"""Who may connect over tcp, and what each key may do."""
