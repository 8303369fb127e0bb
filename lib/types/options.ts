import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Options, RequestHandler } from 'http-proxy-middleware';
import type { SseProxyError } from '../errors.js';
import type { AttemptFailed, Exchange, StreamEvent, TransformResult } from './hooks.js';
import type { ResponseHead } from './http.js';
import type { Provider } from './provider.js';
import type { StreamSummary, Usage } from './summary.js';

/**
 * All options of http-proxy-middleware (they mean what they mean there), and those of this package. Defaults that differ
 * from http-proxy-middleware's: `changeOrigin` is `true`, and `agent` is a keep-alive pool of the proxy's own without a
 * cap on sockets.
 */
export interface SseProxyOptions<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> extends Options<TReq, TRes> {
  /**
   * Decides which responses are event streams. Default: the media types `text/event-stream`, `application/x-ndjson`,
   * `application/jsonl` and `application/stream+json`. Synchronous. What it throws ends the exchange with a 502.
   */
  isEventStream?: (head: Readonly<ResponseHead>) => boolean;

  /**
   * Changes the head of every response, the proxy's own error responses and the 101 of a WebSocket included: status, reason
   * phrase, and all header fields, those that the app has set included. Synchronous; runs once, after everything else, right
   * before the status line is sent. What it throws becomes a 502. It is Node that frames the body: a `Transfer-Encoding` is left out, and a body that
   * is not as long as a `Content-Length` says is cut.
   */
  rewriteHeaders?: (head: ResponseHead, exchange: Exchange<TReq, TRes>) => void;

  /**
   * The fields of requests upstream. Without a `provider` all go on that are not about one connection; with one, the caller's
   * credentials, cookies, `Origin`, `Referer` and forwarding fields are withheld (docs/hide-the-key.md). What `set` puts in is for
   * the target only: it does not follow a redirect to another origin.
   */
  requestHeaders?: HeaderPolicy;

  /**
   * The fields of the upstream's responses. With a `provider`, those about the account and the provider's own site are
   * withheld (docs/hide-the-key.md). What `set` puts in is on the proxy's own error responses, too.
   */
  responseHeaders?: HeaderPolicy;

  /**
   * The only requests that are forwarded, such as `['POST /v1/chat/completions', 'GET /v1/models/:model']`: a method and a path as
   * in Express 5, without the mount path. Others are answered with a 404 or 405. `GET` includes `HEAD`. Default: all.
   */
  allow?: readonly string[];

  /**
   * The API behind the proxy: gives the `target` where there is none, puts its credentials in the place of the caller's,
   * and reads usage, model and finish reason for `onUsage` and `onFinish`.
   */
  provider?: Provider;

  /**
   * Observes each event that the client was sent (with `onClientClose: 'continue'` also those that it no longer was), in order,
   * after its bytes have left. Never delays them. What it throws is logged and otherwise ignored; a promise is not waited for.
   */
  onEvent?: (event: StreamEvent, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Decides what the client gets in the place of each event of an event stream: the event (changed in place, returned, or
   * left alone), another, several, or `null` for none. One after the other, also where it is async. An event that says what
   * it said before keeps its bytes. What it throws ends the exchange: the stream breaks off, honestly.
   *
   * It can only do so where it sees whole events, so that what is not finished when the stream ends is left out.
   */
  transformEvent?: (
    event: StreamEvent,
    exchange: Exchange<TReq, TRes>,
    // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing has changed the event in place
  ) => TransformResult | void | Promise<TransformResult | void>;

  /**
   * What `transformEvent` does where the upstream's Cache-Control has `no-transform`: `'respect'` (default) leaves the stream
   * alone, as RFC 9110 7.7 demands of a proxy, and logs it; `'ignore'` transforms all the same.
   */
  noTransform?: 'respect' | 'ignore';

  /**
   * Sends a comment to clients of `text/event-stream` in the silence of the upstream, only between events: `: ping` and a blank
   * line, or another `comment`. EventSource ignores comments (WHATWG HTML, 9.2.6). Default: `false`.
   */
  heartbeat?:
    | false
    | {
        /** Milliseconds of silence. Default: 15,000. */
        interval?: number;
        /** Without line breaks. Default: `ping`. */
        comment?: string;
      };

  /**
   * Deadlines of the phases of an exchange, each in milliseconds or `false` for none. Before the head a 504, behind it the
   * stream breaks off. Of a WebSocket `connect` and `headers` are for its handshake, unless `upgradeTimeout` is given.
   */
  timeouts?: {
    /** Until the upstream is connected, name and TLS included. Default: 10,000. */
    connect?: number | false;
    /** From the end of the request to the head of the response (with `commit`, to its first event). Default: 120,000. */
    headers?: number | false;
    /** Without a byte of the response's body. Heartbeats do not count. Default: 120,000. */
    idle?: number | false;
    /** Without the client taking anything of what is ready for it. Default: 120,000. */
    drain?: number | false;
    /** For the whole exchange, retries and all. Default: `false`. */
    total?: number | false;
  };

  /**
   * Tries again, before anything was sent to the client, after connection errors and statuses that may pass. An upstream's
   * `x-should-retry` has the last word. `{}` for the defaults below. Default: `false`.
   */
  retry?:
    | false
    | {
        /** How often, per target. Default: 2. */
        maxRetries?: number;
        /**
         * By which methods a request is sent again that the upstream may have seen. Default: GET, HEAD, OPTIONS, PUT, DELETE,
         * TRACE (the idempotent ones of RFC 9110 9.2.2), and those of the provider, which has POST.
         */
        methods?: readonly string[];
        /** Default: 429, 500, 502, 503, 504, 529. */
        statusCodes?: readonly number[];
        /** Those of Node and of {@link SseProxyError}. */
        errorCodes?: readonly string[];
        /** Milliseconds; the wait is between 0 and this times `timeoutFactor` to the power of the retry. Default: 500. */
        minTimeout?: number;
        /** Milliseconds; the longest wait. Default: 30,000. */
        maxTimeout?: number;
        /** 1 or more. Default: 2. */
        timeoutFactor?: number;
        /**
         * Waits for as long as `Retry-After` (RFC 9110 10.2.3) or `retry-after-ms` says; where that is longer than `maxTimeout`,
         * the answer is passed on at once. Default: `true`.
         */
        retryAfter?: boolean;
        /** Bytes, or as `'10mb'`: larger bodies are not sent again. Default: `'1mb'`. */
        maxBodySize?: number | string;
      };

  /**
   * Where to turn when the retries of a target are spent, in order; or a function that names the next one, or none. Of a list,
   * a target that has failed five times in a row is skipped for 30 s. A function is synchronous; where it fails, that is logged, and
   * there is no next one.
   */
  fallbacks?: readonly Fallback[] | ((failed: AttemptFailed, exchange: Exchange<TReq, TRes>) => Fallback | undefined);

  /**
   * When the head of an event stream is sent: with the upstream's `'head'` (default), or with the `'first-event'`, so that a 200 that
   * begins with an error event (as its provider knows it) is retried, falls back, or becomes a real status; or when a function
   * says so of the first event. `false`, or anything like it, is a failed attempt; `undefined` leaves it to the provider. A promise is
   * waited for no longer than `timeouts.headers`.
   */
  commit?:
    | 'head'
    | 'first-event'
    | ((event: StreamEvent, exchange: Exchange<TReq, TRes>) => boolean | Promise<boolean>);

  /**
   * What becomes of the upstream's answer when the client leaves in the middle: `'abort'` (default) ends it at once; `'continue'`
   * reads it to its end, so that the usage is complete (up to 64 MiB and five minutes). A function is synchronous; where it fails,
   * that is logged, and the answer ends.
   */
  onClientClose?: 'abort' | 'continue' | ((exchange: Exchange<TReq, TRes>) => 'abort' | 'continue');

  /** Sizes are in bytes or as `'10mb'`. */
  limits?: {
    /** The most that a request body may have; more is answered with a 413. Default: no limit. */
    requestBody?: number | string;
    /** How many exchanges run at a time; more are answered with a 503. Default: no limit. */
    concurrency?: number;
    /** What waits for its turn beyond that. Default: nothing. */
    queue?: {
      /** How many exchanges. */
      size: number;
      /** Milliseconds. Default: 10,000. */
      timeout?: number;
    };
    /**
     * The most that is held of one event; of a JSON answer, of all of it. Default: `'1mb'`. Beyond it nothing is observed
     * any more (`onEvent`, usage), and a stream that is to be transformed ends.
     */
    eventSize?: number | string;
  };

  /**
   * How a client learns that its stream broke off: `'event'` sends an error event in the dialect of the provider where
   * that is possible (between two events of an uncompressed stream) before the connection is cut; `'destroy'` only cuts.
   * Default: `'event'` with a `provider`, `'destroy'` without.
   */
  truncation?: 'destroy' | 'event';

  /**
   * Called exactly once per exchange that reached the provider, after its end and before `onFinish`, with what the provider
   * reported until then. Needs a `provider`. What it throws is logged and otherwise ignored.
   */
  onUsage?: (usage: Usage, exchange: Exchange<TReq, TRes>) => void;

  /** Called exactly once per exchange, a WebSocket included, after it has ended. What it throws is logged and otherwise ignored. */
  onFinish?: (summary: StreamSummary, exchange: Exchange<TReq, TRes>) => void;

  /**
   * Who answers a failure before the head was sent: `'respond'` (default) answers with a JSON body
   * `{ "error": { "message", "type", "code" } }`; `'next'` hands the {@link SseProxyError} to Express's error middleware. Listeners
   * of `on.error` come first: one that declares a response among its parameters has five seconds to send a head (docs/errors.md).
   */
  onError?: 'respond' | 'next';
}

/** What goes on of the header fields of a message, beyond the defaults. Names in any case; `*` in one stands for anything. */
export interface HeaderPolicy {
  /** Fields that go on although they would be withheld by default. */
  pass?: readonly (string | RegExp)[];
  /** Fields that do not go on, whatever `pass` says. */
  remove?: readonly (string | RegExp)[];
  /**
   * Fields to put in, in the place of those that came; a function that gives `undefined` puts in none. Synchronous: a promise, or
   * what is no string, is `HOOK_FAILED`.
   */
  set?: Readonly<Record<string, string | ((exchange: Exchange) => string | undefined)>>;
}

/** A target to fall back to, or only its address. */
export type Fallback = NonNullable<Options['target']> | FallbackTarget;

/** A target to fall back to. */
export interface FallbackTarget {
  /** Default: the provider's. */
  target?: Options['target'];
  /** Whose credentials and dialect; default: those of the proxy's own `provider`. */
  provider?: Provider;
  /** As http-proxy-middleware's, from the path that the client asked for. Default: the proxy's own. */
  pathRewrite?: (path: string, req: IncomingMessage) => string | undefined;
  /** In the place of the proxy's own `headers`, which are meant for its own target. */
  headers?: Record<string, string>;
}

/** Express middleware that also works as a plain `node:http` request listener. */
export interface SseProxy<TReq extends IncomingMessage = IncomingMessage, TRes extends ServerResponse = ServerResponse>
  extends RequestHandler<TReq, TRes> {
  /** Exchanges that have not ended yet, open WebSockets included. */
  readonly active: number;
  /**
   * Ends the proxy's work, before a server is closed: new requests are answered with a 503, running ones may end within `grace`
   * milliseconds (default 30,000) and are then ended as `drained`, open WebSockets included, with 5 s for their clients to take what
   * they are told. Resolves when the last is gone, and accounted for: whatever clients do, not later than that.
   */
  drain(options?: { grace?: number }): Promise<void>;
}
