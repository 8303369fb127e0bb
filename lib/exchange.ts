import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import { Attempt, type AttemptHandlers } from './attempt.js';
import { ClientResponse } from './client-response.js';
import { decoderFor } from './content-coding.js';
import { errorResponse, outcomeOf, SseProxyError } from './errors.js';
import { applyResponsePasses, first, mayHaveContent } from './headers.js';
import { mustBeSync, runHook } from './hooks.js';
import { isEventStreamType } from './media-type.js';
import type { Config } from './options.js';
import { type RequestBody, requestBody } from './request-body.js';
import type { Exchange, ResponseHead, StreamSummary } from './types.js';
import type { Upstream } from './upstream.js';
import type { UpstreamResponse } from './upstream-response.js';

type Next = (error?: unknown) => void;

/** One client request, from its arrival to its one ending. */
export class ProxyExchange implements Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  attempts = 0;
  target: string | undefined;

  readonly #config: Config;
  readonly #upstream: Upstream;
  readonly #client: ClientResponse;
  readonly #next: Next | undefined;
  readonly #url: string | undefined;
  readonly #startedAt = performance.now();
  #attempt: Attempt | undefined;
  #decoder: Transform | undefined;
  #source: IncomingMessage | undefined;
  #onEnd: (() => void) | undefined;
  #notify: (() => Promise<void>) | undefined;
  #failure: SseProxyError | undefined;
  #bytes = 0;
  #headersAt: number | undefined;
  #firstByteAt: number | undefined;

  constructor(config: Config, upstream: Upstream, req: IncomingMessage, res: ServerResponse, next: Next | undefined) {
    this.#config = config;
    this.#upstream = upstream;
    this.req = req;
    this.res = res;
    this.#next = next;
    this.#client = new ClientResponse(req, res);
    // `pathRewrite` changes it, and every attempt starts from what came in.
    this.#url = req.url;
  }

  /** Starts; `false` where `pathFilter` says that the request is not the proxy's, and nothing was begun. */
  start(onEnd: () => void): boolean {
    const { buffer, timeout } = this.#config.hpm;
    if (!this.#send(buffer === undefined ? requestBody(this.req) : 'stream', false)) return false;
    this.#onEnd = onEnd;
    this.#client.onceClosed(() => this.#end());
    if (timeout) this.#client.limitSilence(timeout);
    return true;
  }

  #send(body: RequestBody, freshConnection: boolean): boolean {
    this.req.url = this.#url;
    const handlers: AttemptHandlers = {
      sending: (target) => {
        this.attempts += 1;
        this.target = target;
      },
      information: (info) => this.#client.inform(info),
      head: (response, source) => this.#onHead(response, source),
      empty: () => this.#respond({ statusCode: 200, statusMessage: '', headers: { 'content-length': '0' } }, ''),
      failed: (error, notify) => this.#onFailure(error, notify),
    };
    const selfHandled = this.#config.hpm.selfHandleResponse === true;
    this.#attempt = new Attempt(this.req, this.res, handlers, body, freshConnection, selfHandled);
    return this.#upstream.send(this.#attempt);
  }

  // --- the response -------------------------------------------------------------------------------------------------

  #onHead(response: UpstreamResponse, source: IncomingMessage): void {
    this.#headersAt = this.#elapsed();
    try {
      // A hook of the user's has sent a head of its own: only the body is left to pass on.
      if (!this.#client.headersSent) this.#commit(response, response.head(source));
    } catch (cause) {
      this.#attempt?.fail(cause instanceof SseProxyError ? cause : hookFailed(cause));
      return;
    }
    this.#relay(this.#decoder === undefined ? source : source.pipe(this.#decoder), source);
  }

  #commit(response: UpstreamResponse, head: ResponseHead): void {
    const { method, httpVersion } = this.req;
    const { statusCode, headers } = head;
    if (statusCode < 200) throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
    const eventStream = this.#isEventStream(head);
    if (eventStream && mayHaveContent(method, statusCode)) {
      this.#decoder = decoderFor(this.req, first(headers['content-encoding']));
    }
    applyResponsePasses(headers, {
      method,
      httpVersion,
      statusCode,
      eventStream,
      decoded: this.#decoder !== undefined,
      app: this.#client.appHeaders,
    });
    this.#rewrite(head);
    this.#client.commit(head, { eventStream, nameOf: (key) => response.nameOf(key) });
  }

  #isEventStream(head: ResponseHead): boolean {
    const { isEventStream } = this.#config;
    if (isEventStream === undefined) return isEventStreamType(first(head.headers['content-type']));
    return Boolean(mustBeSync('isEventStream', isEventStream(head)));
  }

  #rewrite(head: ResponseHead): void {
    mustBeSync('rewriteHeaders', this.#config.rewriteHeaders?.(head, this));
  }

  /** Chunk by chunk, each in the tick in which it came; the client's pace is the upstream's. */
  #relay(body: Readable, source: IncomingMessage): void {
    const client = this.#client;
    this.#source = source;
    body.on('data', (chunk: Buffer) => {
      this.#firstByteAt ??= this.#elapsed();
      this.#bytes += chunk.length;
      if (!client.write(chunk)) body.pause();
    });
    client.onDrain(() => body.resume());
    const finish = (): void => {
      if (this.#failure !== undefined) return;
      client.end(source.rawTrailers);
      this.#attempt?.complete();
    };
    body.once('end', finish);
    this.#decoder?.once('error', (cause) => {
      // No bytes at all are no broken coding.
      if (source.readableEnded && !source.readableDidRead) finish();
      else this.#attempt?.fail(new SseProxyError('UPSTREAM_TRUNCATED', { cause }));
    });
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  #onFailure(error: SseProxyError, notify: () => Promise<void>): void {
    // RFC 9112 9.3.1: the upstream had closed an idle connection just when the request was sent on it.
    const body = error.code === 'UPSTREAM_CLOSED' ? this.#attempt?.bodyForFreshConnection() : undefined;
    if (body !== undefined && !this.#client.gone) {
      this.#attempt?.abort();
      this.#send(body, true);
      return;
    }
    this.#failure = error;
    if (this.#client.headersSent) {
      this.#readRest();
      this.#client.truncate();
      // Not before the end: a listener that ends the response would make it look whole.
      this.#notify = notify;
    } else {
      notify()
        .then(() => this.#answer(error))
        .catch(() => this.#client.destroy());
    }
    this.#attempt?.abort();
    // The rest of an upload that nobody wants any more must not block the connection.
    this.req.resume();
  }

  /** What came in the same read as a failure is not to be lost. */
  #readRest(): void {
    const source = this.#source;
    if (source === undefined || source.destroyed) return;
    // But bytes after the end of a message make it a broken one, and with all its bytes it would look whole.
    if (source.complete && this.#client.isLengthDelimited) return;
    while (source.read() !== null);
  }

  /** Unless a listener of `on.error` has answered. */
  #answer(error: SseProxyError): void {
    if (this.#client.headersSent || this.#client.gone) return;
    this.#client.reset();
    if (this.#config.onError === 'next' && this.#next !== undefined) {
      this.req.url = this.#url;
      this.#next(error);
      return;
    }
    const { head, body } = errorResponse(error);
    this.#respond(head, body);
  }

  /** A response of the proxy's own. */
  #respond({ statusCode, statusMessage, headers }: ResponseHead, body: string): void {
    const makeHead = (): ResponseHead => ({
      statusCode,
      statusMessage,
      headers: { ...this.#client.appHeaders, ...headers, 'content-length': String(Buffer.byteLength(body)) },
    });
    try {
      const head = makeHead();
      this.#rewrite(head);
      this.#client.respond(head, body);
    } catch {
      // Most likely it is this hook that is answered for.
      if (!this.#client.headersSent) this.#client.respond(makeHead(), body);
    }
  }

  // --- the one ending -----------------------------------------------------------------------------------------------

  /** The client has got its response, or has gone. */
  #end(): void {
    this.#attempt?.abort();
    void this.#notify?.();
    this.#decoder?.destroy();
    this.#onEnd?.();
    const { onFinish, logError } = this.#config;
    if (onFinish === undefined) return;
    void runHook(
      () => onFinish(this.#summary(), this),
      (cause) => logError('onFinish failed: %o', cause),
    );
  }

  #summary(): StreamSummary {
    const { statusCode, finished } = this.#client;
    const error = this.#failure;
    return {
      outcome: error === undefined ? (finished ? 'completed' : 'client-closed') : outcomeOf(error),
      ...(statusCode !== undefined && { statusCode }),
      attempts: this.attempts,
      ...(this.target !== undefined && { target: this.target }),
      bytes: this.#bytes,
      timings: {
        ...(this.#headersAt !== undefined && { headers: this.#headersAt }),
        ...(this.#firstByteAt !== undefined && { firstByte: this.#firstByteAt }),
        total: this.#elapsed(),
      },
      ...(error !== undefined && { error }),
    };
  }

  #elapsed(): number {
    return performance.now() - this.#startedAt;
  }
}

/** A hook that looks at the response failed, so it is the response that cannot be given: 502. */
function hookFailed(cause: unknown): SseProxyError {
  return new SseProxyError('HOOK_FAILED', { cause, statusCode: 502 });
}
