/**
 * `false` where the environment has `SSE_PROXY_FAST_PATH=off`, read once, when the package is loaded. Then no trick of this folder
 * is used, and bodies go by Node's documented ways alone. What is needed for correctness stays: see README.md beside this file.
 */
export const IS_FAST_PATH_ON = process.env.SSE_PROXY_FAST_PATH !== 'off';
