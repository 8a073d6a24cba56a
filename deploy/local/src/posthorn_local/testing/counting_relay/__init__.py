"""An SMTP server that counts: in a process of its own, fast, and faulty on demand."""
