import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Options, RequestHandler } from 'http-proxy-middleware';
import type { SseProxyError } from '../errors.js';
import type { AttemptFailed, Exchange, StreamEvent, TransformResult } from './hooks.js';
import type { ResponseHead } from './http.js';
import type { Provider } from './provider.js';
import type { StreamSummary, Usage } from './summary.js';

/** Of what the figures are that `cost` is given. What is not known is absent. */
export interface CostContext {
  /** The `name` of the provider that has answered. */
  provider?: string;
  /** The model that has answered, as the provider names it. */
  model?: string;
  /** The model that was asked for. */
  requestModel?: string;
  /** The tier of service, in the provider's word. */
  serviceTier?: string;
}

/**
 * All options of http-proxy-middleware (they mean what they mean there), and those of this package. Two defaults differ from
 * http-proxy-middleware's: `changeOrigin` is `true`, and `agent` is a keep-alive pool of the proxy's own without a cap on sockets.
 *
 * @example
 * ```ts
 * createSseProxy({
 *   provider: openai({ apiKey: process.env.OPENAI_API_KEY }),
 *   allow: ['POST /v1/chat/completions'],
 *   retry: {},
 *   onFinish: accessLog(),
 * });
 * ```
 */
export interface SseProxyOptions<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> extends Options<TReq, TRes> {
  /**
   * The authorities whose certificates are trusted, in PEM, in the place of Node's own: for an upstream inside a company, say. httpxy
   * takes it for every target, beside what the types of http-proxy-middleware name; other options of the connection go into `ssl`.
   * Not for what a redirect leads to (`followRedirects`).
   *
   * @default Node's (`NODE_EXTRA_CA_CERTS` adds to those)
   * @example
   * ```ts
   * ca: readFileSync('internal-ca.pem')
   * ```
   */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[];

  /**
   * Decides which responses are event streams. Synchronous. What it throws ends the exchange with a 502.
   *
   * @default `text/event-stream`, and the media types of JSON lines: `application/x-ndjson`, `application/jsonl` and their like
   */
  isEventStream?: (head: Readonly<ResponseHead>) => boolean;

  /**
   * Changes the head of every response, the proxy's own error responses and the 101 of a WebSocket included: status, reason
   * phrase, and all headers, also those that the app has set. Synchronous. Runs once, after everything else, right before the status
   * line is sent. What it throws becomes a 502. Node frames the body: a `Transfer-Encoding` is left out, and a body that is not as
   * long as a `Content-Length` says is cut.
   *
   * @example
   * ```ts
   * rewriteHeaders: (head, exchange) => {
   *   head.headers['x-attempts'] = String(exchange.attempts.length);
   *   delete head.headers.server;
   * }
   * ```
   */
  rewriteHeaders?: (head: ResponseHead, exchange: Exchange<TReq, TRes>) => void;

  /**
   * The headers of upstream requests. Hop-by-hop headers never travel (RFC 9110 7.6.1). With a `provider`, the caller's credentials,
   * cookies, `Origin`, `Referer` and forwarding headers are withheld, too (docs/hide-the-key.md). What `set` puts in is for the
   * target only: it does not follow a redirect to another origin.
   *
   * @example
   * ```ts
   * requestHeaders: { remove: ['user-agent'], set: { 'x-tenant': ({ req }) => tenantOf(req) } }
   * ```
   */
  requestHeaders?: HeaderPolicy;

  /**
   * The headers of the upstream's responses. With a `provider`, those about the account and the provider's own site are withheld
   * (docs/hide-the-key.md). What `set` puts in is on the proxy's own error responses, too.
   *
   * @example
   * ```ts
   * responseHeaders: { pass: ['x-ratelimit-*'] }
   * ```
   */
  responseHeaders?: HeaderPolicy;

  /**
   * Adds a `Via` field to what is forwarded in either direction, behind those that are there (RFC 9110 7.6.3): the version of HTTP by which
   * the message was received, and a pseudonym: `true` for `express-sse-proxy`, or one of your own, also a host with its port. Which fields
   * are there is decided before: with a `provider`, `via` is withheld unless `pass` names it.
   *
   * @default false
   * @example
   * ```ts
   * via: 'my-gateway'
   * ```
   */
  via?: boolean | string;

  /**
   * The only requests that are forwarded: a method and a path as in Express 5, without the mount path. Others are answered with a
   * 404 or 405. `GET` includes `HEAD`.
   *
   * @default all requests
   * @example
   * ```ts
   * allow: ['POST /v1/chat/completions', 'GET /v1/models/:model']
   * ```
   */
  allow?: readonly string[];

  /**
   * The API behind the proxy: gives the `target` where the options have none, puts its credentials in the place of the caller's,
   * and reads usage, model and finish reason for `onUsage` and `onFinish`.
   *
   * @example
   * ```ts
   * provider: anthropic({ apiKey: process.env.ANTHROPIC_API_KEY })
   * ```
   */
  provider?: Provider;

  /**
   * Observes each event that the client was sent, in order, after its bytes have left, and never delays them. With
   * `onClientClose: 'continue'` also the events behind the client's departure. What it throws is logged and otherwise ignored; a
   * promise is not waited for.
   *
   * @example
   * ```ts
   * onEvent: (event, { locals }) => {
   *   locals.answer = `${locals.answer ?? ''}${textOf(event.json())}`;
   * }
   * ```
   */
  onEvent?: (event: StreamEvent, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Decides what the client gets in the place of each event of an event stream: the event (changed in place, returned, or
   * left alone), another, several, or `null` for none. Events are handed over one after the other, also where it is async. An event
   * whose content did not change keeps its bytes. What it throws ends the exchange: the stream breaks off, and no client takes it for
   * a whole one.
   *
   * It sees whole events only: what is incomplete when the stream ends is left out.
   *
   * @example
   * ```ts
   * transformEvent: (event) => (event.event === 'ping' ? null : undefined)
   * ```
   */
  transformEvent?: (
    event: StreamEvent,
    exchange: Exchange<TReq, TRes>,
    // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing has changed the event in place
  ) => TransformResult | void | Promise<TransformResult | void>;

  /**
   * What `transformEvent` does where the upstream's Cache-Control has `no-transform`: `'respect'` leaves the stream alone, as
   * RFC 9110 7.7 demands of a proxy, and logs it; `'ignore'` transforms all the same.
   *
   * @default 'respect'
   */
  noTransform?: 'respect' | 'ignore';

  /**
   * Sends a comment to clients of `text/event-stream` while the upstream is silent, and only between events: `: ping` and a blank
   * line, or another `comment`. EventSource ignores comments (WHATWG HTML, 9.2.6). Where a provider's clients take a comment for a
   * failure (Google's), it is an event that says nothing: `data: {}`. `true` for the defaults below.
   *
   * @default false
   */
  heartbeat?:
    | boolean
    | {
        /**
         * Milliseconds of silence.
         *
         * @default 15_000
         */
        interval?: number;
        /**
         * Without line breaks. It goes before the provider's own heartbeat.
         *
         * @default 'ping', or what the provider's clients ignore
         */
        comment?: string;
      };

  /**
   * Deadlines of the phases of an exchange, each in milliseconds or `false` for none. A deadline that passes before the head was sent
   * is answered with a 504; behind the head the stream breaks off. For a WebSocket `connect` and `headers` limit the handshake, unless
   * `upgradeTimeout` is given.
   */
  timeouts?: {
    /**
     * Until the upstream is connected, name resolution and TLS included.
     *
     * @default 10_000
     */
    connect?: number | false;
    /**
     * From the end of the request to the head of the response (with `commit`, to its first event).
     *
     * @default 120_000
     */
    headers?: number | false;
    /**
     * Without a byte of the response's body. Heartbeats do not count.
     *
     * @default 120_000
     */
    idle?: number | false;
    /**
     * While the client takes nothing of what is ready for it (backpressure).
     *
     * @default 120_000
     */
    drain?: number | false;
    /**
     * For the whole exchange, retries included.
     *
     * @default false
     */
    total?: number | false;
  };

  /**
   * Tries again after connection errors and statuses that may pass, as long as nothing was sent to the client. An upstream's
   * `x-should-retry` has the last word. `true` or `{}` for the defaults below.
   *
   * @default false
   */
  retry?:
    | boolean
    | {
        /**
         * How many retries per target.
         *
         * @default 2
         */
        maxRetries?: number;
        /**
         * The methods whose requests are sent again although the upstream may have seen them.
         *
         * @default the idempotent ones of RFC 9110 9.2.2 (GET, HEAD, OPTIONS, PUT, DELETE, TRACE), and those of the provider, which
         * has POST
         */
        methods?: readonly string[];
        /**
         * The statuses of responses that are tried again.
         *
         * @default [429, 500, 502, 503, 504, 529]
         */
        statusCodes?: readonly number[];
        /**
         * The codes of errors that are tried again: Node's, and those of {@link SseProxyError}.
         *
         * @default those of connections that could not be made, or broke
         */
        errorCodes?: readonly string[];
        /**
         * Milliseconds. The wait is a random one between 0 and this times `timeoutFactor` to the power of the retry.
         *
         * @default 500
         */
        minTimeout?: number;
        /**
         * Milliseconds: the longest wait.
         *
         * @default 30_000
         */
        maxTimeout?: number;
        /**
         * 1 or more.
         *
         * @default 2
         */
        timeoutFactor?: number;
        /**
         * Waits for as long as `Retry-After` (RFC 9110 10.2.3) or `retry-after-ms` says. Where that is longer than `maxTimeout`, the
         * response is passed on at once.
         *
         * @default true
         */
        retryAfter?: boolean;
        /**
         * Bytes, or as `'10mb'`: larger request bodies are not sent again.
         *
         * @default '1mb'
         */
        maxBodySize?: number | string;
      };

  /**
   * Where to turn when the retries of a target are spent: a list, in order, or a function that names the next target, or none. Of a
   * list, a target that has failed five times in a row is skipped for 30 s (circuit breaker). A function is synchronous; where it
   * fails, that is logged, and there is no next target.
   *
   * @example
   * ```ts
   * fallbacks: ['https://eu.api.example', anthropic({ apiKey }), { provider: vllm, model: 'llama-3.3' }]
   * ```
   */
  fallbacks?: readonly Fallback[] | ((failed: AttemptFailed, exchange: Exchange<TReq, TRes>) => Fallback | undefined);

  /**
   * When the head of an event stream is sent: `'head'` is as soon as the upstream's head arrives. With `'first-event'` it waits for
   * the first event, so that a 200 that begins with an error event (as its provider knows it) is retried, falls back, or becomes a real
   * error status. With `'first-content'` it looks past events that are no answer yet, as the provider reads them (pings, heads, roles), to
   * the first that is content or an error: past no more than 100 events, and for no longer than 10 s; it needs a `provider`. A function decides that of the first event: `false`, or anything falsy but `undefined`, is a failed attempt;
   * `undefined` leaves it to the provider. A promise is waited for no longer than `timeouts.headers`.
   *
   * @default 'head'
   */
  commit?:
    | 'head'
    | 'first-event'
    | 'first-content'
    | ((event: StreamEvent, exchange: Exchange<TReq, TRes>) => boolean | Promise<boolean>);

  /**
   * What becomes of the upstream's response when the client disconnects before its end: `'abort'` stops the upstream request at once,
   * and so the bill; `'continue'` reads the response to its end, so that the usage is complete (up to 64 MiB and five minutes). A
   * function is synchronous; where it fails, that is logged, and the request stops.
   *
   * @default 'abort'
   */
  onClientClose?: 'abort' | 'continue' | ((exchange: Exchange<TReq, TRes>) => 'abort' | 'continue');

  /** Sizes are in bytes or as `'10mb'`. */
  limits?: {
    /**
     * The largest request body. A larger one is answered with a 413.
     *
     * @default no limit
     */
    requestBody?: number | string;
    /**
     * How many exchanges run at a time. More are answered with a 503.
     *
     * @default no limit
     */
    concurrency?: number;
    /**
     * What waits for its turn beyond `concurrency`.
     *
     * @default nothing
     */
    queue?: {
      /** How many exchanges wait. */
      size: number;
      /**
       * Milliseconds that each waits at the most.
       *
       * @default 10_000
       */
      timeout?: number;
    };
    /**
     * The most that is held of one event, or of a JSON response that is read for its usage. `onEvent` misses what is larger, usage is
     * read of JSON without its long strings and arrays, and `transformEvent` ends the stream.
     *
     * @default '1mb'
     */
    eventSize?: number | string;
  };

  /**
   * How a client learns that its stream broke off: `'event'` sends an error event in the dialect of the provider where that is
   * possible (between two events of an uncompressed stream) before the connection is cut; `'destroy'` only cuts.
   *
   * @default what the provider says: 'event', and 'destroy' where its clients hide what such an event says (`mistral()`); 'destroy'
   * without a provider
   */
  truncation?: 'destroy' | 'event';

  /**
   * Says what an exchange has cost, in whatever currency it counts: it is told as `cost` in the usage, in the summary and in the access log.
   * Called once per exchange whose provider has reported figures, before `onUsage`; not for those of a stored answer that are only asked for
   * again. Synchronous. `undefined` where it does not know. What it throws is logged, and what is no number of 0 or more. Needs a
   * `provider`. Recipes: docs/count-the-tokens.md.
   *
   * @example
   * ```ts
   * cost: ({ inputTokens = 0, outputTokens = 0 }) => (inputTokens * 0.25 + outputTokens * 2) / 1_000_000,
   * ```
   */
  cost?: (usage: Usage, context: CostContext) => number | undefined;

  /**
   * Called exactly once per exchange that reached the provider, after its end and before `onFinish`, with what the provider
   * reported until then. Needs a `provider`. What it throws is logged and otherwise ignored.
   *
   * @example
   * ```ts
   * onUsage: (usage, { req }) => {
   *   if (usage.complete) charge(req.user, usage.inputTokens, usage.outputTokens);
   * }
   * ```
   */
  onUsage?: (usage: Usage, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Called exactly once per exchange, a WebSocket included, after it has ended. What it throws is logged and otherwise ignored.
   *
   * @example
   * ```ts
   * onFinish: ({ outcome, timings }) => histogram.record(timings.total, { outcome })
   * ```
   */
  onFinish?: (summary: StreamSummary, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Who answers a failure before the head was sent: `'respond'` answers with a JSON body
   * `{ "error": { "message", "type", "code" } }`; `'next'` hands the {@link SseProxyError} to Express's error middleware. Listeners
   * of `on.error` come first: one that declares a response among its parameters has five seconds to send a head (docs/errors.md).
   *
   * @default 'respond'
   */
  onError?: 'respond' | 'next';
}

/** Which headers of a message go on, beyond the defaults. Names in any case; `*` in a name stands for anything. */
export interface HeaderPolicy {
  /** Headers that go on although they would be withheld by default. */
  pass?: readonly (string | RegExp)[];
  /** Headers that do not go on, whatever `pass` says. */
  remove?: readonly (string | RegExp)[];
  /**
   * Headers to put in, in the place of those that came; a function that gives `undefined` puts in none. Synchronous: a promise, or
   * what is no string, is `HOOK_FAILED`.
   */
  set?: Readonly<Record<string, string | ((exchange: Exchange) => string | undefined)>>;
}

/** A target to fall back to, or only its address, or only its provider. */
export type Fallback = NonNullable<Options['target']> | FallbackTarget | Provider;

/** A target to fall back to. */
export interface FallbackTarget {
  /** @default the provider's */
  target?: Options['target'];
  /**
   * Whose credentials and dialect.
   *
   * @default the proxy's own `provider`
   */
  provider?: Provider;
  /**
   * As http-proxy-middleware's, from the path that the client asked for.
   *
   * @default the proxy's own
   */
  pathRewrite?: (path: string, req: IncomingMessage) => string | undefined;
  /**
   * The model to ask for: takes the place of the `model` of a JSON request body, which keeps all its other bytes. A body that has none,
   * or that cannot be read, goes as it came. For an API that has the model in its path: `pathRewrite`.
   *
   * @default the one that the client asks for
   */
  model?: string;
  /**
   * Changes a JSON request body, after `model` and before the provider's own edits: gives the new text, or an object to be written as JSON;
   * `undefined` to leave it. Synchronous. It is given what the client sent, whatever the attempts before have made of it. If it fails,
   * nothing is sent (`HOOK_FAILED`).
   *
   * @default the body of the client
   * @example
   * ```ts
   * editBody: (body) => ({ ...JSON.parse(body), model: 'llama-3.3', store: undefined })
   * ```
   */
  editBody?: (body: string, exchange: Exchange) => string | object | undefined;
  /** In the place of the proxy's own `headers`, which are meant for its own target. */
  headers?: Record<string, string>;
}

/** Express middleware that also works as a plain `node:http` request listener. */
export interface SseProxy<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext extends (error?: unknown) => void = (error?: unknown) => void,
> extends RequestHandler<TReq, TRes, TNext> {
  /** Exchanges that have not ended yet, open WebSockets included. */
  readonly active: number;
  /**
   * Ends the proxy's work before a server is closed. New requests are answered with a 503. Running exchanges, open WebSockets included,
   * may end within `grace` milliseconds; the others are then ended as `drained`, with 5 s for their clients to take what they are
   * told. Resolves when the last exchange has ended and was accounted for: whatever clients do, not later than that.
   *
   * @param options `grace` is 30,000 by default
   * @example
   * ```ts
   * process.once('SIGTERM', async () => {
   *   server.close();
   *   await proxy.drain({ grace: 10_000 });
   * });
   * ```
   */
  drain(options?: { grace?: number }): Promise<void>;
}
