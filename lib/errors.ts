/**
 * How an exchange ended:
 * - `completed`: the upstream's complete response, whatever its status, was handed to the client's connection; with a provider also one that
 *   is complete by its dialect (`[DONE]`), where the client has left before the end of the body;
 * - `client-closed`: the client left before that;
 * - `upstream-truncated`: the upstream's response broke off after its head had been sent on;
 * - `upstream-error`: no usable response came from the upstream (refused, reset, DNS, TLS, malformed), or an error event in its stream;
 * - `timeout`: a deadline passed;
 * - `refused`: the request was not let in: its path, a limit, or the proxy was draining;
 * - `drained`: it was still running when the grace period of `drain()` was over;
 * - `failed`: something on this side failed: a hook, a request body that was already consumed.
 */
export type Outcome =
  | 'completed'
  | 'client-closed'
  | 'upstream-truncated'
  | 'upstream-error'
  | 'timeout'
  | 'refused'
  | 'drained'
  | 'failed';

/**
 * Why an exchange failed. The codes are stable: they are safe to switch on, and clients get them as `error.code`. What each means,
 * and what to do about it: docs/errors.md.
 */
export type SseProxyErrorCode = keyof typeof FAILURES;

/** The HTTP status, the outcome and the public message of each code. The messages name no host, path or credential. */
const FAILURES = {
  UPSTREAM_UNREACHABLE: [502, 'upstream-error', 'The upstream could not be reached.'],
  UPSTREAM_TLS_FAILED: [502, 'upstream-error', 'A secure connection to the upstream could not be established.'],
  UPSTREAM_CLOSED: [502, 'upstream-error', 'The upstream closed the connection before it answered.'],
  UPSTREAM_INVALID_RESPONSE: [502, 'upstream-error', 'The upstream sent a response that is not valid HTTP.'],
  UPSTREAM_TRUNCATED: [
    502,
    'upstream-truncated',
    'The upstream closed the connection before its response was complete.',
  ],
  UPSTREAM_ERROR_EVENT: [502, 'upstream-error', 'The upstream answered with an error.'],
  UPSTREAM_CONNECT_TIMEOUT: [504, 'timeout', 'The upstream could not be connected to in time.'],
  UPSTREAM_TIMEOUT: [504, 'timeout', 'The upstream did not answer in time.'],
  TOTAL_TIMEOUT: [504, 'timeout', 'The exchange took too long.'],
  CLIENT_TIMEOUT: [408, 'timeout', 'The client has not sent its request, or read its response, in time.'],
  CONCURRENCY_LIMIT: [503, 'refused', 'The proxy is at its limit of concurrent requests.'],
  REQUEST_BODY_TOO_LARGE: [413, 'refused', 'The request body is too large.'],
  DRAINING: [503, 'refused', 'The proxy is shutting down.'],
  DRAINED: [503, 'drained', 'The proxy was shut down.'],
  PATH_OUTSIDE_TARGET: [400, 'refused', 'The path of the request is not one that the proxy forwards.'],
  NOT_FOUND: [404, 'refused', 'The proxy does not forward this path.'],
  METHOD_NOT_ALLOWED: [405, 'refused', 'The proxy does not forward this method on this path.'],
  UPGRADE_NOT_SUPPORTED: [501, 'refused', 'The proxy does not switch to this protocol.'],
  TARGET_MISSING: [500, 'failed', 'The proxy has no target for this request.'],
  REQUEST_BODY_CONSUMED: [
    500,
    'failed',
    'The request body was read before the proxy and cannot be sent again. ' +
      'Mount the proxy before whatever reads the body, or keep the bytes in `req.rawBody`.',
  ],
  CREDENTIALS_MISSING: [500, 'failed', 'The proxy has no credentials for the upstream.'],
  EVENTS_UNREADABLE: [502, 'failed', 'The upstream sent an event stream that the proxy cannot read.'],
  EVENT_TOO_LARGE: [502, 'failed', 'The upstream sent an event that is too large.'],
  HOOK_FAILED: [500, 'failed', 'A hook of the proxy failed.'],
  PROXY_FAILED: [500, 'failed', 'The proxy could not forward the request.'],
} as const satisfies Record<string, readonly [status: number, outcome: Outcome, message: string]>;

/** What is known of a failure besides its code. */
export interface SseProxyErrorOptions {
  /** The underlying error. It is kept for logs, and never sent to the client. */
  cause?: unknown;
  /** The HTTP status in place of the code's own: 400 to 599. */
  statusCode?: number;
  /** Headers for the response, besides the code's own, by lower-case name. */
  headers?: Readonly<Record<string, string>>;
  /** The hook that failed. */
  hook?: string;
  /** The message in place of the code's own. Clients get it: it must name no host, path or credential. */
  message?: string;
}

/**
 * The error of a failed exchange. Express's error handling reads `status`, `statusCode`, `expose` and `headers` (the conventions of
 * `http-errors`). The message is one of few per code and safe to show; the details are in `cause`.
 */
export class SseProxyError extends Error {
  override readonly name = 'SseProxyError';
  /** Why the exchange failed; safe to switch on. */
  readonly code: SseProxyErrorCode;
  /** The HTTP status of the error response. */
  readonly statusCode: number;
  /** Express may show the message to the client. */
  readonly expose = true;
  /** Headers of the error response, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** The hook that failed or did not settle in time, such as `requestHeaders.set["x-user"]`; absent where no hook was involved. */
  declare readonly hook?: string;

  constructor(code: SseProxyErrorCode, options: SseProxyErrorOptions = {}) {
    const [statusCode, , message] = FAILURES[code];
    super(options.message ?? message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.statusCode = isErrorStatus(options.statusCode) ? options.statusCode : statusCode;
    this.headers = { ...ERROR_HEADERS[code], ...options.headers };
    if (options.hook !== undefined) this.hook = options.hook;
  }

  /** The same as `statusCode`. */
  get status(): number {
    return this.statusCode;
  }

  /** The body of the error response, unless a provider has a format of its own. */
  toJSON(): { error: { message: string; type: string; code: SseProxyErrorCode } } {
    return { error: { message: this.message, type: 'proxy_error', code: this.code } };
  }
}

/** Whether a value is the HTTP status of an error: 400 to 599. */
export function isErrorStatus(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 400 && Number(value) <= 599;
}

/** How an exchange ends that has failed with this error. */
export function outcomeOf({ code }: SseProxyError): Outcome {
  return FAILURES[code][1];
}

/** The error response, for a failure before the head was sent. */
export function errorResponse({ statusCode, headers }: SseProxyError, body: string) {
  return {
    head: {
      statusCode,
      statusMessage: '',
      headers: {
        'cache-control': 'no-store',
        'content-type': 'application/json; charset=utf-8',
        ...headers,
      },
    },
    body,
  };
}

/** The headers that some errors add to the error response. */
const ERROR_HEADERS: { [code in SseProxyErrorCode]?: Readonly<Record<string, string>> } = {
  // The upstream may have served the request: another attempt may be billed again.
  UPSTREAM_TIMEOUT: { 'x-should-retry': 'false' },
  TOTAL_TIMEOUT: { 'x-should-retry': 'false' },
  CONCURRENCY_LIMIT: { 'retry-after': '1' },
  // Another instance may take the next request.
  DRAINING: { 'retry-after': '1', connection: 'close' },
  DRAINED: { 'retry-after': '1', connection: 'close' },
  // The rest of the request is not read, so that nothing can follow it on the connection.
  REQUEST_BODY_TOO_LARGE: { connection: 'close' },
};

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'EACCES',
  'EPERM',
  'ENOENT', // a Unix socket that is not there
]);
const TLS_CODE = /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/;

/**
 * What OpenSSL says of bytes that are no TLS, by version: in the code that Node makes of it, or only in the message, where Node has but
 * `EPROTO`, or OpenSSL an internal error, for a record that would be longer than any.
 */
const NO_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL|HTTP_REQUEST|READ_N:INTERNAL_ERROR/;

/** Messages in place of the code's own, where the cause tells more: the same code may have other remedies. */
export const MESSAGES = {
  headTooLarge: "The head of the upstream's response is too large.",
  noTls: 'The upstream does not speak TLS.',
  onlyTls: 'The upstream speaks TLS only.',
} as const;

/**
 * Tells apart a head above Node's limit, a target with `https:` that does not speak TLS, and one with `http:` that does; `undefined`
 * for any other error.
 */
function messageFor(error: unknown): string | undefined {
  const code = codeOfCause(error);
  if (code === 'HPE_HEADER_OVERFLOW') return MESSAGES.headTooLarge;
  const { rawPacket, message } = (error ?? {}) as { rawPacket?: unknown; message?: unknown };
  if (code.startsWith('HPE_')) return isTlsRecord(rawPacket) ? MESSAGES.onlyTls : undefined;
  if (!/^(EPROTO$|ERR_SSL_)/.test(code)) return undefined;
  const reason = `${code} ${message}`.toUpperCase().replaceAll(' ', '_');
  return NO_TLS.test(reason) ? MESSAGES.noTls : undefined;
}

/** RFC 8446 5.1: an alert, or a handshake, of whatever version of TLS. */
function isTlsRecord(bytes: unknown): boolean {
  return (
    ArrayBuffer.isView(bytes) && bytes instanceof Uint8Array && (bytes[0] === 21 || bytes[0] === 22) && bytes[1] === 3
  );
}

/**
 * Names a failure of the upstream connection by Node's error code.
 *
 * @param headPassedOn whether the client has the response's head: the response is truncated, not missing
 */
export function toSseProxyError(error: unknown, headPassedOn: boolean): SseProxyError {
  if (error instanceof SseProxyError) return error;
  // `fixRequestBody` has found line breaks in the fields of a multipart form: whoever sent it tries to inject something.
  if (codeOfCause(error).startsWith('HPM_ERR_INVALID_MULTIPART')) {
    return new SseProxyError('PROXY_FAILED', { cause: error, statusCode: 400 });
  }
  if (headPassedOn) return new SseProxyError('UPSTREAM_TRUNCATED', { cause: error });
  const message = messageFor(error);
  return new SseProxyError(codeOf(error), { cause: error, ...(message !== undefined && { message }) });
}

function codeOfCause(error: unknown): string {
  return String((error as NodeJS.ErrnoException | undefined)?.code ?? '');
}

function codeOf(error: unknown): SseProxyErrorCode {
  const code = codeOfCause(error);
  if (UNREACHABLE.has(code)) return 'UPSTREAM_UNREACHABLE';
  if (code === 'ETIMEDOUT') return 'UPSTREAM_TIMEOUT';
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'UPSTREAM_CLOSED';
  if (code.startsWith('HPE_')) return 'UPSTREAM_INVALID_RESPONSE';
  if (TLS_CODE.test(code)) return 'UPSTREAM_TLS_FAILED';
  return 'PROXY_FAILED';
}
