"""TLS of the servers: the certificate and its files, and taking connections through it."""
