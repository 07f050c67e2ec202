#!/bin/sh
# Run once by PostgreSQL's image when its data directory is new: spantree's accounts, none of them a superuser. The owner has the
# database spantree and makes a schema and tables there; `spantree migrate` gives collector (writer) and API (reader) their rights.
# BYPASSRLS lets the writer COPY into tables with policies.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
  --set=owner_password="$(cat /run/secrets/spantree_owner_password)" \
  --set=writer_password="$(cat /run/secrets/spantree_writer_password)" \
  --set=reader_password="$(cat /run/secrets/spantree_reader_password)" <<'SQL'
CREATE ROLE spantree_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE spantree_writer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS PASSWORD :'writer_password';
CREATE ROLE spantree_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'reader_password';
CREATE DATABASE spantree OWNER spantree_owner;
REVOKE CONNECT ON DATABASE spantree FROM PUBLIC;
GRANT CONNECT ON DATABASE spantree TO spantree_writer, spantree_reader;
SQL
