-- The record's clock: what every move and every statement of the fleet means by now.
--
-- The planner puts its body in its place, so that it costs nothing. It is a function so that tests
-- can replace it in a database of their own and let time pass (tests/contract/rigs.py); nothing
-- that a role or a session can set moves it. VOLATILE as its body is: a move asks after it has its
-- lock, not when its transaction began.
CREATE FUNCTION zq_now_v1() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT clock_timestamp()
$$;
