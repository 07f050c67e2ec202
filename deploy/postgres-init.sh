#!/bin/sh
# Run once by PostgreSQL's image when its data directory is new: spantree's account, which owns the database spantree and
# may do nothing else. It creates a schema and tables there, and needs no right of a superuser.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres --set=password="$(cat /run/secrets/spantree_password)" <<'SQL'
CREATE ROLE spantree LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE spantree OWNER spantree;
REVOKE CONNECT ON DATABASE spantree FROM PUBLIC;
SQL
