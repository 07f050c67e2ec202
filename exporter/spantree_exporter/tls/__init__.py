"""TLS of the servers: the certificate and its files, taking connections through it, passing them on."""
