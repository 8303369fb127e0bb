export { SseProxyError, type SseProxyErrorCode } from './errors.js';
export { createSseProxy } from './middleware.js';
export type {
  Exchange,
  HeaderFields,
  Outcome,
  ResponseHead,
  SseProxy,
  SseProxyOptions,
  StreamSummary,
} from './types.js';
