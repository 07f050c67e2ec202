-- A rebuild that was interrupted goes on only by the same rules: a new version's start from the beginning.

ALTER TABLE spantree.rebuild_position ADD COLUMN rules text NOT NULL DEFAULT '';
COMMENT ON COLUMN spantree.rebuild_position.rules IS 'hash of the rules that it reads spans by';
