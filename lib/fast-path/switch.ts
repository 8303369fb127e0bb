/**
 * `false` if the environment has `SSE_PROXY_FAST_PATH=off`, which is read once, when the package is loaded. Then bodies take only
 * Node's documented ways. What is needed for correctness stays: see README.md beside this file.
 */
export const IS_FAST_PATH_ON = process.env.SSE_PROXY_FAST_PATH !== 'off';
