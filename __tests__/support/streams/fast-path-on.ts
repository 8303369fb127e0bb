/**
 * For the tests of the fast path's own tricks: they run with it on also where `SSE_PROXY_FAST_PATH=off` is in the environment. To be
 * imported in front of all else, since the package reads it when it is loaded.
 */
delete process.env.SSE_PROXY_FAST_PATH;
