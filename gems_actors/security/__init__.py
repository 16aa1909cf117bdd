"""Keys, what they allow, and who is connected with them. Nothing here decides what a message means or opens a port."""
