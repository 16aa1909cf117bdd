"""Complete examples for users, and the tests that run them from outside the project."""
