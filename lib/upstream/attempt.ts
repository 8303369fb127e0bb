import type { ClientRequest, IncomingMessage, InformationEvent, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Options } from 'http-proxy-middleware';
import type { Secrets } from '../credentials/secrets.js';
import { STALE_LIMIT } from '../defaults.js';
import { SseProxyError, toSseProxyError } from '../errors.js';
import { replaceMethod } from '../fast-path/replace-method.js';
import { hasBody, isTransferDecoded } from '../headers/framing.js';
import { applyRequestPasses } from '../headers/request-passes.js';
import { BodyCapture } from '../request/body-capture.js';
import { limitBody } from '../request/body-limit.js';
import { readAsBytes } from '../request/reader-encodings.js';
import type { RequestBody } from '../request/replayed-body.js';
import type { Config, Route } from '../types/config.js';
import { UpstreamResponse } from './upstream-response.js';

/** What an attempt reports. After `failed` nothing else is reported. */
export interface AttemptHandlers {
  /** The path that is asked for is known, as `pathRewrite` has left it. Gives the one to send; may change `body`. */
  prepare(attempt: Attempt, path: string): string | Promise<string>;
  /** An async hook is waited for, by its name; `undefined` when that is over. */
  waiting(hook: string | undefined): void;
  /** The client's connection may be silent for so long (`timeout`). Milliseconds, 0 for no limit. */
  limitSilence(timeout: number): void;
  /** The request is about to be sent to this origin. */
  sending(target: string): void;
  /** A 1xx response. */
  information(info: InformationEvent): void;
  /** The head has come, and the response is the user's (`selfHandleResponse`). */
  handedOver(): void;
  /** The connection is being made. */
  connecting(): void;
  connected(): void;
  /** The upstream has taken what had waited for it, or the whole request was sent. */
  taken(): void;
  /** The final response's head; `source` is its body, paused. Not called where it was handed over. */
  head(response: UpstreamResponse, source: IncomingMessage): void;
  /** There is no response to wait for: the request was only to be forwarded (`forward` without a target). */
  empty(): void;
  /** `notify` is there where it is an error that has listeners. */
  failed(error: SseProxyError, notify: Notify | undefined): void;
}

/**
 * Calls the `error` listeners. `undefined` where none of them is the user's; else a promise that resolves when no answer of theirs
 * is to be waited for: never, where one of them may still have it in the making. It tells whether one of them has failed.
 */
export type Notify = () => Promise<boolean> | undefined;

export interface AttemptOptions {
  req: IncomingMessage;
  res: ServerResponse;
  handlers: AttemptHandlers;
  body: RequestBody;
  /** Where to, and as whom. */
  route: Route;
  /** Pooled connections are to be left alone. */
  freshConnection: boolean;
  /** How much of the body to keep, so that another attempt can be made; `undefined` where none would be. */
  keptBytes: number | undefined;
}

/** A stream of the user's own (`buffer`) that is sent in the place of the request's body. */
export interface OwnBody {
  readonly stream: Readable;
  /** There is but this one, and what was sent of it cannot be sent again: no hook has made it for the attempt. */
  readonly isShared: boolean;
}

/** One request to the upstream. */
export class Attempt {
  /** Express's own, which user callbacks are handed. */
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** What is sent, unless there is an `ownBody`. */
  body: RequestBody;
  ownBody: OwnBody | undefined;
  readonly route: Route;
  readonly freshConnection: boolean;
  /** How much of the body is kept, so that another attempt can be made; `undefined` where none would be. */
  readonly keptBytes: number | undefined;
  /** What http-proxy-middleware writes into. */
  readonly response: UpstreamResponse;
  /** The request tells of the client (`xfwd`). */
  isForwarded = false;
  /** The target of `forward`, where the request is copied to: what becomes of the copy does not matter. */
  mirror: unknown;
  /** What the upstream is authenticated to with, by a provider. */
  credentials: Readonly<Record<string, string>> | undefined;
  /** Those of them that must not come back to the client. */
  secrets: Secrets | undefined;
  /** What `requestHeaders.set` puts on the request. */
  policyHeaders: Readonly<Record<string, string>> = {};
  readonly #handlers: AttemptHandlers;
  #request: ClientRequest | undefined;
  /** Those of this one request, which hooks may change at any time. */
  #options: Options | undefined;
  /** Of the target. */
  #origin = '';
  /** A redirect has led to another origin, which has chosen whatever is asked for from there on. */
  #hasLeftOrigin = false;
  #capture: BodyCapture | undefined;
  #bodyStarted = false;
  #bytesReadBefore = 0;
  #held: PassThrough | undefined;
  #timedOut = false;
  #isPrepared = false;
  #headReceived = false;
  #connected = false;
  #started = false;
  #over = false;

  constructor({ req, res, handlers, body, route, freshConnection, keptBytes }: AttemptOptions) {
    this.req = req;
    this.res = res;
    this.body = body;
    this.route = route;
    this.freshConnection = freshConnection;
    this.#handlers = handlers;
    this.keptBytes = keptBytes;
    this.response = new UpstreamResponse(
      res,
      (source) => this.#onBody(source),
      () => this.#onEmpty(),
    );
    this.response.attempt = this;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** The upstream may have seen the request, and may charge for it. */
  get reachedUpstream(): boolean {
    return this.#connected || this.#headReceived;
  }

  /** Has a stream of the user's own sent in the place of the request's body. */
  takeOwnBody(ownBody: OwnBody): void {
    this.body = 'stream';
    this.ownBody = ownBody;
    this.#guardBody(ownBody);
  }

  /** httpxy only pipes it: what it fails with would end the process, also when nobody wants it any more. */
  #guardBody({ stream, isShared }: OwnBody): void {
    // All that httpxy needs of it is `pipe`.
    if (typeof stream.on !== 'function') return;
    const onError = (cause: unknown): void => this.fail(new SseProxyError('PROXY_FAILED', { cause }));
    stream.on('error', onError);
    if (!isShared) return;
    if (stream.listenerCount('error') === 1) stream.on('error', () => {});
    this.response.once('close', () => stream.removeListener('error', onError));
  }

  prepare(path: string): string | Promise<string> {
    this.#isPrepared = true;
    return this.#handlers.prepare(this, path);
  }

  /** See {@link AttemptHandlers.waiting}. */
  waiting(hook: string | undefined): void {
    if (!this.#over) this.#handlers.waiting(hook);
  }

  limitSilence(timeout: number): void {
    this.#handlers.limitSilence(timeout);
  }

  /** The request is not sent yet, and it is the client, or a stream of the user's, that takes its time. */
  get waitsForBody(): boolean {
    const request = this.#request;
    if (request === undefined || request.writableEnded || request.writableNeedDrain) return false;
    if (this.ownBody !== undefined) return !this.ownBody.stream.readableEnded && !this.ownBody.stream.destroyed;
    return this.body === 'stream' && hasBody(this.req) && !this.req.complete;
  }

  /** What is sent is the request's own stream: of what has flowed by now, only what was copied can be sent again. */
  get #isFlowing(): boolean {
    return this.body === 'stream' && this.#bodyStarted && hasBody(this.req);
  }

  get isReplayable(): boolean {
    if (this.ownBody?.isShared) return false;
    return this.#isFlowing ? this.#capture?.isUsable === true : this.body !== 'lost';
  }

  /** The body to send in another attempt; `undefined` where it is lost. Nothing more is sent in this one. */
  replay(): RequestBody | undefined {
    if (this.ownBody?.isShared) return undefined;
    if (!this.#isFlowing) return this.body === 'lost' ? undefined : this.body;
    if (this.#request !== undefined) this.req.unpipe(this.#held ?? this.#request);
    return this.#capture?.take();
  }

  /** The body that was sent, where a pooled connection turned out to be dead before a byte of the response came. */
  bodyForFreshConnection(): RequestBody | undefined {
    const request = this.#request;
    if (request === undefined || !request.reusedSocket || this.#headReceived || this.#timedOut) return undefined;
    if (request.socket !== null && request.socket.bytesRead > this.#bytesReadBefore) return undefined;
    return this.replay();
  }

  /** Ends the upstream request, whatever has become of it. Nothing is reported any more. */
  abort(): void {
    this.#over = true;
    this.#capture?.stop();
    this.response.close();
    this.#held?.destroy();
    if (this.#request === undefined) return;
    // By hand, since httpxy's pipe stops the flow when it notices, and the rest of an upload must go on to flow.
    this.req.unpipe(this.#held ?? this.#request);
    // After a redirect this is not the request that httpxy would abort.
    this.#request.destroy();
  }

  /** The client has the whole response. */
  complete(): void {
    this.#over = true;
    this.response.end();
  }

  fail(error: unknown, notify?: Notify): void {
    // A hook that has answered the request is respected, whatever follows.
    if (this.res.writableEnded) this.#over = true;
    if (this.#over) return;
    this.secrets?.maskError(error);
    // With `commit` the head may have come, and not have been passed on yet.
    const isPassedOn = this.res.headersSent || this.response.isHandedOver;
    const failure = this.#timedOut
      ? new SseProxyError('UPSTREAM_TIMEOUT', { cause: error })
      : toSseProxyError(error, this.#headReceived && isPassedOn);
    this.#over = true;
    this.#handlers.failed(failure, notify);
  }

  /**
   * A stand-in for the body, which flows only when the upstream request is there: httpxy pipes the body to the target of
   * `forward` earlier, and what has flowed by then would not reach the upstream.
   */
  holdBody(): Readable {
    this.#held = new PassThrough();
    return this.#held;
  }

  /** httpxy's `start`: the last moment before the upstream request is made. Throws to say that none is to be made. */
  onStart(target: unknown): void {
    // The client may have left, or a hook may have answered it, while `router` and `pathRewrite` were at work.
    if (this.res.destroyed || this.res.writableEnded || this.req.socket.destroyed) this.#over = true;
    // http-proxy-middleware asks nobody about an empty path, which a hook may have left.
    if (this.#over || !this.#isPrepared) throw new SseProxyError('PROXY_FAILED');
    this.#started = true;
    this.#origin = originOf(target);
    this.#handlers.sending(this.#origin);
  }

  /** http-proxy-middleware's `next(error)`: it could not even start. */
  onRejected(error: unknown): void {
    const known = this.#started || error instanceof SseProxyError;
    this.fail(known ? error : new SseProxyError('TARGET_MISSING', { cause: error }));
  }

  /** httpxy's `proxyReq`: the upstream request has its socket, and its head is still to be written. */
  onRequest(request: ClientRequest, { requestHeaders, wantsIdentity, requestBody }: Config, options: Options): void {
    const redirectedFrom = this.#request;
    this.#request = request;
    this.#options = options;
    // The Host of the first request may be the client's; that of the next is httpxy's.
    const isRedirected = redirectedFrom !== undefined;
    this.#hasLeftOrigin ||= isRedirected && `${request.protocol}//${request.getHeader('host')}` !== this.#origin;
    applyRequestPasses(request, {
      req: this.req,
      policy: requestHeaders,
      provider: this.route.provider,
      credentials: this.credentials,
      set: this.policyHeaders,
      own: Object.keys(options.headers ?? {}),
      hasLeftOrigin: this.#hasLeftOrigin,
      wantsIdentity,
      isForwarded: this.isForwarded,
    });
    this.#watchConnection(request);
    this.#bytesReadBefore = request.socket?.bytesRead ?? 0;
    // That of a redirect gets its connection later.
    if (request.socket === null) request.once('socket', (socket) => this.#onSocket(socket));
    this.#guard(request);
    if (redirectedFrom === undefined) this.#startBody(request, requestBody);
    // httpxy sends what it has of the body, and that is nothing yet: the next request would be taken for the rest of it.
    else if (!((options.buffer ?? this.req) as Readable).readableEnded && isFramed(request))
      this.fail(new SseProxyError('REQUEST_BODY_CONSUMED'));
    // A 101 that nobody asked for: without a listener Node drops the connection and tells nobody.
    request.once('upgrade', (_response, socket) => {
      socket.destroy();
      this.fail(new SseProxyError('UPSTREAM_INVALID_RESPONSE'));
    });
  }

  /** After the user's `proxyReq` listeners: if the body is lost, one of them must have written it, or given another. */
  requireBody(request: ClientRequest, isWritten: boolean): void {
    const { buffer, followRedirects } = this.#options ?? {};
    // httpxy would find out in an event of Node's, where nobody catches it.
    if (buffer && typeof (followRedirects ? buffer.on : buffer.pipe) !== 'function')
      this.fail(new SseProxyError('PROXY_FAILED', { cause: new TypeError('`buffer` must be a stream') }));
    // What a listener has destroyed tells by itself why.
    if (this.body === 'lost' && !buffer && !isWritten && !request.destroyed)
      this.fail(new SseProxyError('REQUEST_BODY_CONSUMED'));
    const isOurs = buffer === this.#held || buffer === this.ownBody?.stream;
    if (buffer instanceof Readable && !isOurs) this.#guardBody({ stream: buffer, isShared: false });
    if (this.#over) request.destroy();
  }

  /** The head leaves with the first bytes of the body where they are there already, and otherwise does not wait for them. */
  flushHead(request: ClientRequest): void {
    // After the tick in which the body starts to flow.
    queueMicrotask(() => {
      if (!request.headersSent && !request.destroyed) request.flushHeaders();
    });
  }

  /** httpxy's `proxyRes`. */
  onResponse(response: IncomingMessage): void {
    this.#headReceived = true;
    if (this.#options?.selfHandleResponse) {
      this.response.isHandedOver = true;
      this.#handlers.handedOver();
    } else {
      if (!isTransferDecoded(response.headers['transfer-encoding'])) {
        this.fail(new SseProxyError('UPSTREAM_INVALID_RESPONSE'));
      }
      // httpxy overwrites it before it copies the head.
      this.response.connection = response.headers.connection;
      this.response.expect(response);
    }
    // With a status that is tried again it is still needed; else the end of the attempt stops it.
    if (!this.keptBytes) this.#capture?.stop();
  }

  #onBody(source: IncomingMessage): void {
    if (!this.#over) this.#handlers.head(this.response, source);
  }

  #onEmpty(): void {
    if (!this.#over) this.#handlers.empty();
  }

  #onSocket({ bytesRead }: Socket): void {
    this.#bytesReadBefore = bytesRead;
  }

  #watchConnection({ socket }: ClientRequest): void {
    const onConnect = (): void => {
      this.#connected = true;
      if (!this.#over) this.#handlers.connected();
    };
    if (socket?.connecting !== true) {
      onConnect();
      return;
    }
    this.#handlers.connecting();
    socket.once((socket as Partial<TLSSocket>).encrypted ? 'secureConnect' : 'connect', onConnect);
  }

  #startBody(request: ClientRequest, limit: number): void {
    this.#bodyStarted = true;
    const held = this.#held;
    if (held !== undefined) readAsBytes(this.req, () => this.req.pipe(held));
    if (this.body !== 'stream' || !hasBody(this.req)) return;
    // A redirect may lead to a connection that is dead, too.
    const mayBeStale = request.reusedSocket || Boolean(this.#options?.followRedirects);
    const kept = Math.max(this.keptBytes ?? 0, mayBeStale ? STALE_LIMIT : 0);
    if (kept > 0) this.#capture = new BodyCapture(this.req, kept);
    if (limit < Number.POSITIVE_INFINITY) {
      limitBody(this.req, limit, () => this.fail(new SseProxyError('REQUEST_BODY_TOO_LARGE')));
    }
  }

  /**
   * Notices what a request tells, before its listeners do; and what httpxy throws inside its own (of a malformed Location, say),
   * which would end the process.
   */
  #guard(request: ClientRequest): void {
    const { emit } = request;
    replaceMethod(request, 'emit', (...args: Parameters<typeof emit>) => {
      // A redirect has been followed: what becomes of the connection that it came by does not matter any more.
      if (args[0] === 'error' && request !== this.#request) return true;
      try {
        this.#notice(args);
        return emit.apply(request, args);
      } catch (error) {
        this.fail(new SseProxyError('UPSTREAM_INVALID_RESPONSE', { cause: error }));
        request.destroy();
        return true;
      }
    });
  }

  #notice([event, value]: readonly unknown[]): void {
    if (event === 'timeout') this.#timedOut = true;
    if (this.#over) return;
    if (event === 'information') this.#handlers.information(value as InformationEvent);
    const isTaken = event === 'drain' || event === 'finish';
    if (isTaken && this.#connected && !this.#headReceived) this.#handlers.taken();
  }
}

/** Has a body, by its own fields. */
function isFramed(request: ClientRequest): boolean {
  return request.hasHeader('transfer-encoding') || Number(request.getHeader('content-length') ?? 0) > 0;
}

export function originOf(target: unknown): string {
  if (target instanceof URL) return target.origin;
  const { protocol = 'http:', host, hostname, port, socketPath } = (target ?? {}) as Record<string, string | undefined>;
  if (socketPath !== undefined) return 'unix:';
  // http-proxy-middleware takes the brackets of an IPv6 address away.
  const name = hostname?.includes(':') ? `[${hostname}]` : (hostname ?? host ?? 'localhost');
  return `${protocol.replace(/:?$/, ':')}//${name}${!port || name.endsWith(`:${port}`) ? '' : `:${port}`}`;
}
