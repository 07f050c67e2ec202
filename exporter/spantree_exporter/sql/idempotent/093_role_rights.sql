-- Views, tables and functions that are new in this build are there for the roles of spantree itself, too.
SELECT spantree.grant_roles();
