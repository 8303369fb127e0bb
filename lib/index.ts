/**
 * The middleware, and the types of its options and hooks.
 *
 * What http-proxy-middleware's users need beside it (`fixRequestBody`, `responseInterceptor`, `definePlugin`, its plugins, `Options`, ...) is
 * exported, too, from the version that runs underneath, and documented there.
 *
 * @module express-sse-proxy
 */

// What http-proxy-middleware's users need beside the middleware, from the version that runs underneath.
export type { Filter, OnProxyEvent, Options, Plugin, RequestHandler } from 'http-proxy-middleware';
export {
  debugProxyErrorsPlugin,
  definePlugin,
  errorResponsePlugin,
  fixRequestBody,
  loggerPlugin,
  proxyEventsPlugin,
  responseInterceptor,
} from 'http-proxy-middleware';
export { createSseProxy } from './create-sse-proxy.js';
export { type Outcome, SseProxyError, type SseProxyErrorCode } from './errors.js';
export { type AccessLogOptions, accessLog } from './observe/access-log.js';
export type {
  ExchangeAttempt,
  ExchangeEnded,
  ExchangeHead,
  ExchangeMessage,
  ExchangeMessages,
  ExchangeRetry,
  ExchangeStalled,
  ExchangeStarted,
} from './types/diagnostics.js';
export type { EventData, EventFormat, StreamBoundary } from './types/format.js';
export type { AttemptFailed, EventFields, Exchange, StreamEvent, TransformResult } from './types/hooks.js';
export type { HeaderFields, ResponseHead } from './types/http.js';
export type {
  CostContext,
  Fallback,
  FallbackTarget,
  HeaderPolicy,
  SseProxy,
  SseProxyOptions,
} from './types/options.js';
export type { Provider, ProviderFailure, Reading, RequestEdit, RequestToSign } from './types/provider.js';
export type { AttemptSummary, StreamSummary, Usage } from './types/summary.js';
