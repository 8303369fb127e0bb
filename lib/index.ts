/**
 * The middleware, and the types of its options and hooks.
 *
 * What http-proxy-middleware's users need beside it (`fixRequestBody`, `responseInterceptor`, `definePlugin`, `Options`, ...) is
 * exported, too, from the version that runs underneath, and documented there.
 *
 * @module express-sse-proxy
 */

// What http-proxy-middleware's users need beside the middleware, from the version that runs underneath.
export type { Filter, OnProxyEvent, Options, Plugin, RequestHandler } from 'http-proxy-middleware';
export { definePlugin, fixRequestBody, responseInterceptor } from 'http-proxy-middleware';
export { createSseProxy } from './create-sse-proxy.js';
export { type Outcome, SseProxyError, type SseProxyErrorCode } from './errors.js';
export { type AccessLogOptions, accessLog } from './observe/access-log.js';
export type {
  AttemptFailed,
  AttemptSummary,
  EventFields,
  Exchange,
  Fallback,
  FallbackTarget,
  HeaderFields,
  HeaderPolicy,
  Provider,
  ProviderFailure,
  Reading,
  RequestEdit,
  ResponseHead,
  SseProxy,
  SseProxyOptions,
  StreamEvent,
  StreamSummary,
  TransformResult,
  Usage,
} from './types/types.js';
