-- Schema version 1. A change is a new file, and brings procedures of a new name
-- beside these, which replicas of the version before still call.

CREATE SEQUENCE idpkit.record_ids;

CREATE TABLE idpkit.records (
	id      bigint      NOT NULL DEFAULT nextval('idpkit.record_ids'),
	shard   integer     NOT NULL CHECK (shard BETWEEN 0 AND 65535),
	kind    bytea       NOT NULL,
	key     bytea       NOT NULL,
	version bigint      NOT NULL CHECK (version > 0),
	state   smallint    NOT NULL CHECK (state IN (0, 1)),
	subject bytea,
	client  bytea,
	session bytea,
	grant_  bytea,
	expires timestamptz,
	data    bytea       NOT NULL,
	PRIMARY KEY (shard, kind, key)
) /* layout */;
ALTER SEQUENCE idpkit.record_ids OWNED BY idpkit.records.id;

CREATE INDEX records_subject ON idpkit.records (kind, subject, id) WHERE subject IS NOT NULL;
CREATE INDEX records_client  ON idpkit.records (kind, client, id)  WHERE client  IS NOT NULL;
CREATE INDEX records_session ON idpkit.records (kind, session, id) WHERE session IS NOT NULL;
CREATE INDEX records_grant   ON idpkit.records (kind, grant_, id)  WHERE grant_  IS NOT NULL;
CREATE INDEX records_expires ON idpkit.records (expires)           WHERE expires IS NOT NULL;

COMMENT ON TABLE  idpkit.records         IS 'What the identity provider remembers. Text is bytea: compared byte by byte, NUL and invalid UTF-8 allowed; read it with convert_from(kind, ''UTF8''). Write only through commit_v1: it locks names, not rows.';
COMMENT ON COLUMN idpkit.records.id      IS 'order of insertion, the cursor of Find; never changes while the row lives';
COMMENT ON COLUMN idpkit.records.shard   IS '16-bit number that rows of one flow share; what commits together has one shard';
COMMENT ON COLUMN idpkit.records.kind    IS 'family of the record: grant, code, session, client, …';
COMMENT ON COLUMN idpkit.records.key     IS 'digest of the handle that names the record; opens nothing';
COMMENT ON COLUMN idpkit.records.version IS '1 at insert, one more at every write';
COMMENT ON COLUMN idpkit.records.state   IS '0 active, 1 consumed (spent or revoked)';
COMMENT ON COLUMN idpkit.records.subject IS 'user; NULL: none, and no index entry';
COMMENT ON COLUMN idpkit.records.client  IS 'OAuth client; NULL: none';
COMMENT ON COLUMN idpkit.records.session IS 'single sign-on session; NULL: none';
COMMENT ON COLUMN idpkit.records.grant_  IS 'grant that the record belongs to; NULL: none';
COMMENT ON COLUMN idpkit.records.expires IS 'may be purged after this time, is valid or not regardless of it; NULL: kept for ever';
COMMENT ON COLUMN idpkit.records.data    IS 'opaque to the database, at most 64 KiB';

-- The lock that stands for a record, there or not. All versions of the
-- procedures must take the same.
CREATE FUNCTION idpkit.lock_id(shard integer, kind bytea, key bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
	SELECT hash_record_extended(ROW(shard, kind, key), hashtextextended('idpkit', 0))
$$;

-- Refuses to answer from a standby, which is behind.
CREATE FUNCTION idpkit.on_primary() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF pg_is_in_recovery() THEN
		RAISE read_only_sql_transaction USING MESSAGE = 'this server is a standby';
	END IF;
	RETURN true;
END $$;

-- Returns the rows that have all the values that are not NULL, in the order of
-- id. The index of the narrowest column leads, the others only filter; no
-- statistics, which may be old, can lead elsewhere.
CREATE FUNCTION idpkit.find_v1(at_kind bytea, after bigint, most bigint, by_grant bytea, by_session bytea, by_subject bytea, by_client bytea)
RETURNS SETOF idpkit.records LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
	RETURN QUERY EXECUTE 'SELECT * FROM idpkit.records WHERE idpkit.on_primary() AND kind = $1 AND id > $2 AND ' || CASE
		WHEN by_grant   IS NOT NULL THEN 'grant_ = $4'
		WHEN by_session IS NOT NULL THEN 'session = $5'
		WHEN by_subject IS NOT NULL THEN 'subject = $6'
		ELSE 'client = $7' END || '
		AND ($5 IS NULL OR (session = $5) IS TRUE) AND ($6 IS NULL OR (subject = $6) IS TRUE) AND ($7 IS NULL OR (client = $7) IS TRUE)
		ORDER BY id LIMIT $3'
	USING at_kind, after, most, by_grant, by_session, by_subject, by_client;
END $$;

-- Applies the ops, or says which of them failed and shows that row as it is.
-- Arrays have one element for each op, in the caller's order; lock_order has
-- their places, from 0, in the order of locking. failed is the place of the
-- lowest op that failed, NULL when all were applied.
CREATE PROCEDURE idpkit.commit_v1(
	at_shard integer, lock_order bigint[], verbs smallint[], kinds bytea[], keys bytea[], versions bigint[],
	subjects bytea[], clients bytea[], sessions bytea[], grants bytea[], expiries timestamptz[], datas bytea[],
	OUT failed integer, OUT now_version bigint, OUT now_state smallint, OUT now_subject bytea, OUT now_client bytea,
	OUT now_session bytea, OUT now_grant bytea, OUT now_expires timestamptz, OUT now_data bytea)
LANGUAGE plpgsql AS $$
BEGIN
	-- Each statement below must see all that was committed before it, whatever
	-- the default here is. Nothing was done yet.
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		COMMIT;
		SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
	END IF;
	SET LOCAL enable_seqscan = off; -- a plan made while the table was small is kept

	-- Names are locked, not rows, so that absent rows are held as well, and a
	-- Check writes nothing. The locks end with the transaction, after its rows
	-- became visible. From here on nobody else writes what is named.
	PERFORM CASE verbs[n + 1]
		WHEN 5 THEN pg_advisory_xact_lock_shared(idpkit.lock_id(at_shard, kinds[n + 1], keys[n + 1]))
		ELSE pg_advisory_xact_lock(idpkit.lock_id(at_shard, kinds[n + 1], keys[n + 1])) END
	FROM unnest(lock_order) AS n WHERE idpkit.on_primary();

	FOR i IN 1 .. cardinality(verbs) LOOP
		CONTINUE WHEN verbs[i] = 4; -- delete demands nothing
		SELECT version, state INTO now_version, now_state -- data only if it is asked for
		FROM idpkit.records WHERE shard = at_shard AND kind = kinds[i] AND key = keys[i];
		CONTINUE WHEN CASE verbs[i]
			WHEN 1 THEN NOT FOUND
			WHEN 2 THEN now_state = 0 AND now_version = versions[i]
			ELSE now_state = 0 END;
		failed := i - 1;
		SELECT version, state, subject, client, session, grant_, expires, data
		INTO now_version, now_state, now_subject, now_client, now_session, now_grant, now_expires, now_data
		FROM idpkit.records WHERE shard = at_shard AND kind = kinds[i] AND key = keys[i];
		RETURN;
	END LOOP;

	FOR i IN 1 .. cardinality(verbs) LOOP
		CASE verbs[i]
		WHEN 1 THEN
			INSERT INTO idpkit.records (shard, kind, key, version, state, subject, client, session, grant_, expires, data)
			VALUES (at_shard, kinds[i], keys[i], 1, 0, subjects[i], clients[i], sessions[i], grants[i], expiries[i], datas[i]);
		WHEN 2 THEN
			UPDATE idpkit.records SET version = version + 1, subject = subjects[i], client = clients[i],
				session = sessions[i], grant_ = grants[i], expires = expiries[i], data = datas[i]
			WHERE shard = at_shard AND kind = kinds[i] AND key = keys[i] AND state = 0 AND version = versions[i];
		WHEN 3 THEN
			UPDATE idpkit.records SET version = version + 1, state = 1
			WHERE shard = at_shard AND kind = kinds[i] AND key = keys[i] AND state = 0;
		WHEN 4 THEN
			DELETE FROM idpkit.records WHERE shard = at_shard AND kind = kinds[i] AND key = keys[i];
		ELSE
			NULL;
		END CASE;
		IF verbs[i] IN (2, 3) AND NOT FOUND THEN -- somebody wrote by hand
			RAISE serialization_failure USING MESSAGE = 'a row changed in spite of its lock';
		END IF;
	END LOOP;
END $$;

-- Deletes up to batch rows that expired before the given time. It waits for
-- nobody: rows that a commit or another purge is busy with are left.
CREATE PROCEDURE idpkit.purge_v1(before timestamptz, batch integer, OUT deleted bigint)
LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		COMMIT;
		SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
	END IF;
	SET LOCAL enable_seqscan = off;
	WITH old AS MATERIALIZED (
		SELECT shard, kind, key FROM idpkit.records WHERE expires < before
		ORDER BY expires LIMIT batch FOR UPDATE SKIP LOCKED
	)
	DELETE FROM idpkit.records r USING old
	WHERE (r.shard, r.kind, r.key) = (old.shard, old.kind, old.key)
		AND pg_try_advisory_xact_lock(idpkit.lock_id(old.shard, old.kind, old.key));
	GET DIAGNOSTICS deleted = ROW_COUNT;
END $$
