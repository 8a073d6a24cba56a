-- Roles and schemas of the services. Run it inside the database, as often as you like, as superuser or as the owner of
-- the database with CREATEROLE. Passwords come as settings of the session, so that the same file serves psql and drivers:
--
--   PGOPTIONS="-c posthorn.auth_password=… -c posthorn.campaigns_password=… …" psql -d posthorn -f provision.sql
--
-- posthorn.services      comma-separated; default: all four
-- posthorn.role_suffix   appended to role names, for test databases that share one server; default: none
DO $provision$
DECLARE
    service text;
    role_name text;
    database_name text := current_database();
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', database_name);
    REVOKE ALL ON SCHEMA public FROM PUBLIC;

    FOREACH service IN ARRAY string_to_array(
        coalesce(nullif(current_setting('posthorn.services', true), ''), 'auth,campaigns,mailer,analytics'), ',')
    LOOP
        role_name := 'posthorn_' || service || coalesce(current_setting('posthorn.role_suffix', true), '');
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L', role_name,
                       current_setting('posthorn.' || service || '_password'));
        -- Managed PostgreSQL gives no superuser: whoever makes a schema for a role must be a member of that role.
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
        EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', database_name, role_name);
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, role_name);
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %I', role_name, database_name, service);
    END LOOP;
END
$provision$;
