#!/bin/sh
# Passwords for compose.yaml, in deploy/secrets: made where there is none, never changed.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 711 secrets
for name in postgres_password spantree_owner_password spantree_writer_password spantree_reader_password; do
  [ -s "secrets/$name" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > "secrets/$name"
  # Containers read it by accounts of their own; who may enter the directory above is what protects it.
  chmod 644 "secrets/$name"
done
