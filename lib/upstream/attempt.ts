import type { ClientRequest, IncomingMessage, InformationEvent, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Options } from 'http-proxy-middleware';
import type { Secrets } from '../credentials/secrets.js';
import { REDIRECTED_BODY, STALE_AFTER } from '../defaults.js';
import { SseProxyError, toSseProxyError } from '../errors.js';
import { Connection } from '../fast-path/connection.js';
import { replaceMethod } from '../fast-path/replace-method.js';
import { holdWriteErrors } from '../fast-path/write-errors.js';
import { acceptsEventStream } from '../formats/stream-formats.js';
import { isTransferDecoded, mayHaveContent } from '../headers/framing.js';
import { applyRequestPasses } from '../headers/request-passes.js';
import { viaEntry } from '../headers/via.js';
import type { RequestBody } from '../request/replayed-body.js';
import type { Config, Route } from '../types/config.js';
import type { RequestEdit } from '../types/provider.js';
import { then } from '../util/then.js';
import { AttemptBody, type OwnBody } from './attempt-body.js';
import { originOf } from './origin.js';
import { UpstreamResponse } from './upstream-response.js';

/** What an attempt reports. After `failed` nothing else is reported, but hooks that fail. */
export interface AttemptHandlers {
  /**
   * The path is known, after `pathRewrite`. Returns what to send.
   *
   * @param own the secrets that `headers` and `auth` put on the request
   */
  prepare(attempt: Attempt, path: string, own: readonly string[]): PreparedRequest | Promise<PreparedRequest>;
  /** The attempt waits for an async hook of this name; `undefined` when it has settled. */
  waiting(hook: string | undefined): void;
  /** See {@link AttemptSettings.silence}. */
  limitSilence(timeout: number): void;
  /** The request is about to be sent to this origin. */
  sending(target: string): void;
  /** A 1xx response. */
  information(info: InformationEvent): void;
  /** The head has come, and the response is the user's (`selfHandleResponse`). */
  handedOver(response: IncomingMessage): void;
  /** The connection is being made. */
  connecting(): void;
  connected(): void;
  /** The upstream has taken the bytes that were buffered for it, or the whole request was sent. */
  taken(): void;
  /** The head of the final response; `source` is its body, paused. Not called after `handedOver`. */
  head(response: UpstreamResponse, source: IncomingMessage): void;
  /** The request was only forwarded (`forward` without a target): there is no response to wait for. */
  empty(): void;
  /** A hook has failed. Also called where the attempt is over, and nobody waits for it any more. */
  hookFailed(error: SseProxyError): void;
  /** The attempt has failed. `notify` calls the `error` listeners, for the errors that have some. */
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
  /** The target, and the provider whose credentials are sent. */
  route: Route;
  /** No pooled connection is used. */
  freshConnection: boolean;
  /** How much of the body to keep, so that another attempt can be made; `undefined` where none would be. */
  keptBytes: number | undefined;
  /** The beginning of the body is kept until the head has come, to tell what was asked. */
  keepsBeginning: boolean;
}

/** The part of the upstream request that the exchange decides on. */
export interface PreparedRequest {
  /** Path and query. */
  readonly path: string;
  /** What `requestHeaders.set` puts on the request. */
  readonly set: Readonly<Record<string, string>>;
  /** What a provider authenticates the request with. */
  readonly credentials?: Readonly<Record<string, string>> | undefined;
  /** Takes the place of the request's body. */
  readonly body?: RequestBody | undefined;
  /** How the body was changed, where the answer has to be changed back. */
  readonly edit?: RequestEdit | undefined;
}

/** What http-proxy-middleware's options for this request mean for the attempt. */
export interface AttemptSettings {
  /** The target of `forward`, where the request is copied to: what becomes of the copy does not matter. */
  readonly mirror: unknown;
  /** The request tells of the client (`xfwd`). */
  readonly isForwarded: boolean;
  /** How long the client's connection may be silent (`timeout`). Milliseconds, 0 for no limit. */
  readonly silence: number;
}

/** One request to the upstream. */
export class Attempt {
  /** Express's own, which user callbacks are handed. */
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly route: Route;
  /** Pooled connections are left alone. */
  readonly freshConnection: boolean;
  readonly body: AttemptBody;
  /** What http-proxy-middleware writes into. */
  readonly response: UpstreamResponse;
  readonly #handlers: AttemptHandlers;
  #request: ClientRequest | undefined;
  /** http-proxy-middleware's options for this request, which hooks may change at any time. */
  #options: Options | undefined;
  /** The target's origin. */
  #origin = '';
  /** A redirect has led to another origin, so credentials are not sent any more. */
  #hasLeftOrigin = false;
  #bytesReadBefore = 0;
  /** How long its connection had been idle. Milliseconds. */
  #idleTime = 0;
  #timedOut = false;
  /** Set when the path is known. */
  #prepared: PreparedRequest | undefined;
  #secrets: Secrets | undefined;
  #settings: AttemptSettings | undefined;
  #headReceived = false;
  #response: IncomingMessage | undefined;
  #connected = false;
  #started = false;
  #over = false;

  constructor({ req, res, handlers, body, route, freshConnection, keptBytes, keepsBeginning }: AttemptOptions) {
    this.req = req;
    this.res = res;
    this.body = new AttemptBody({ req, content: body, keptBytes, keepsBeginning });
    this.route = route;
    this.freshConnection = freshConnection;
    this.#handlers = handlers;
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

  /** The credentials that must not come back to the client; `undefined` if there are none. */
  get secrets(): Secrets | undefined {
    return this.#secrets;
  }

  /** A change to the request that has to be undone in the answer. */
  get edit(): RequestEdit | undefined {
    return this.#prepared?.edit;
  }

  /** Whether this is the target of `forward`, which gets a copy of the request: its failures do not matter. */
  isMirror(target: unknown): boolean {
    return target !== undefined && target === this.#settings?.mirror;
  }

  /** Has a stream of the user's own sent in the place of the request's body. */
  takeOwnBody(own: OwnBody): void {
    this.body.takeOwn(own);
    this.#guardBody(own);
  }

  /** Listens for errors of a user's stream, since httpxy only pipes it: unheard, they would end the process. */
  #guardBody({ stream, isShared }: OwnBody): void {
    // httpxy needs `pipe` only, so the object may be no emitter.
    if (typeof stream.on !== 'function') return;
    const onError = (cause: unknown): void => this.fail(new SseProxyError('PROXY_FAILED', { cause }));
    stream.on('error', onError);
    if (!isShared) return;
    if (stream.listenerCount('error') === 1) stream.on('error', () => {});
    this.response.once('close', () => stream.removeListener('error', onError));
  }

  /** Has these secrets masked in whatever comes back, and in what this attempt fails with. */
  protect(secrets: Secrets | undefined): void {
    this.#secrets = secrets;
  }

  /**
   * Returns the path to send.
   *
   * @param own the secrets that `headers` and `auth` put on the request
   */
  prepare(path: string, own: readonly string[]): string | Promise<string> {
    return then(this.#handlers.prepare(this, path, own), (prepared) => {
      this.#prepared = prepared;
      if (prepared.body !== undefined) this.body.replace(prepared.body);
      return prepared.path;
    });
  }

  /** Hooks have had the last word on the options of this request. */
  configure(settings: AttemptSettings): void {
    this.#settings = settings;
    this.#handlers.limitSilence(settings.silence);
  }

  /** See {@link AttemptHandlers.waiting}. */
  waiting(hook: string | undefined): void {
    if (!this.#over) this.#handlers.waiting(hook);
  }

  /** The request is not complete yet because the client, or a stream of the user's, has not delivered its body. */
  get waitsForBody(): boolean {
    const request = this.#request;
    if (request === undefined || request.writableEnded || request.writableNeedDrain) return false;
    return this.body.isAwaited;
  }

  /** How many bytes have gone upstream on its connection. */
  get bytesSent(): number {
    return this.#request?.socket?.bytesWritten ?? 0;
  }

  /** The body to send in another attempt; `undefined` where it is lost. Nothing more is sent in this one. */
  replay(): RequestBody | undefined {
    return this.body.replay(this.#request);
  }

  /**
   * A pooled connection turned out to be dead before a byte of the response came (RFC 9112 9.3.1).
   *
   * @param isIdempotent it is no harm to send the request twice. Else it must not have been acted on: on a connection that was busy a
   * moment ago, a request that was written has most likely been
   */
  wasStale(isIdempotent: boolean): boolean {
    const request = this.#request;
    if (request === undefined || !request.reusedSocket || this.#headReceived || this.#timedOut) return false;
    if (request.socket !== null && request.socket.bytesRead > this.#bytesReadBefore) return false;
    return isIdempotent || this.#idleTime >= STALE_AFTER || !request.writableFinished;
  }

  /** Ends the upstream request, in whatever state. Nothing is reported afterwards. */
  abort(): void {
    this.#over = true;
    this.response.close();
    this.body.abort(this.#request);
    // After a redirect this is not the request that httpxy would abort.
    this.#request?.destroy();
  }

  /** The client has the whole response. */
  complete(): void {
    this.#over = true;
    this.response.end();
  }

  fail(error: unknown, notify?: Notify): void {
    // With `commit` the head may have arrived without having been passed on.
    const isPassedOn = this.res.headersSent || this.response.isHandedOver;
    const failure = this.#timedOut
      ? new SseProxyError('UPSTREAM_TIMEOUT', { cause: error })
      : toSseProxyError(error, this.#headReceived && isPassedOn);
    // Not before: what came instead of HTTP is told by its bytes, which are not kept.
    this.secrets?.maskError(failure);
    if (failure.code === 'HOOK_FAILED') this.#handlers.hookFailed(failure);
    // A hook that has answered the request is respected, whatever follows.
    if (this.res.writableEnded) this.#over = true;
    if (this.#over) return;
    this.#over = true;
    this.#handlers.failed(failure, notify);
  }

  /** httpxy's `start`: the last moment before the upstream request is made. Throws to say that none is to be made. */
  onStart(target: unknown): void {
    // The client may have left, or a hook may have answered it, while `router` and `pathRewrite` were at work.
    if (this.res.destroyed || this.res.writableEnded || this.req.socket.destroyed) this.#over = true;
    // For an empty path, which a hook may have left, http-proxy-middleware does not call `pathRewrite`.
    if (this.#over || this.#prepared === undefined) throw new SseProxyError('PROXY_FAILED');
    this.#started = true;
    this.#origin = originOf(target);
    this.#handlers.sending(this.#origin);
  }

  /** http-proxy-middleware's `next(error)`: the request could not be started. */
  onRejected(error: unknown): void {
    const known = this.#started || error instanceof SseProxyError;
    this.fail(known ? error : new SseProxyError('TARGET_MISSING', { cause: error }));
  }

  /** httpxy's `proxyReq`: the upstream request has its socket, and its head is still to be written. */
  onRequest(request: ClientRequest, config: Config, options: Options): void {
    const { requestHeaders, wantsIdentity, requestBody, via } = config;
    const redirectedFrom = this.#request;
    this.#request = request;
    this.#options = options;
    // The Host header of the first request may be the client's; that of a redirect is httpxy's.
    const isRedirected = redirectedFrom !== undefined;
    this.#hasLeftOrigin ||= isRedirected && `${request.protocol}//${request.getHeader('host')}` !== this.#origin;
    applyRequestPasses(request, {
      req: this.req,
      policy: requestHeaders,
      provider: this.route.provider,
      credentials: this.#prepared?.credentials,
      hasSecrets: this.#secrets !== undefined,
      set: this.#prepared?.set ?? {},
      own: Object.keys(options.headers ?? {}),
      hasLeftOrigin: this.#hasLeftOrigin,
      // What is meant to arrive event by event is asked for without a content coding.
      wantsIdentity: wantsIdentity || acceptsEventStream(this.req.headers.accept),
      via: viaEntry(via, this.req.httpVersion),
      isForwarded: this.#settings?.isForwarded === true,
    });
    this.#watchConnection(request);
    this.#bytesReadBefore = request.socket?.bytesRead ?? 0;
    this.#idleTime = idleTimeOf(request.socket);
    if (request.socket !== null) holdWriteErrors(request.socket);
    // The request that follows a redirect gets its connection later.
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
    // httpxy would throw inside one of Node's events, where nobody catches it.
    if (buffer && typeof (followRedirects ? buffer.on : buffer.pipe) !== 'function')
      this.fail(new SseProxyError('PROXY_FAILED', { cause: new TypeError('`buffer` must be a stream') }));
    // A request that a listener has destroyed reports its own error.
    if (this.body.content === 'lost' && !buffer && !isWritten && !request.destroyed)
      this.fail(new SseProxyError('REQUEST_BODY_CONSUMED'));
    if (buffer instanceof Readable && !this.body.isKnown(buffer)) this.#guardBody({ stream: buffer, isShared: false });
    if (this.#over) request.destroy();
  }

  /** Sends the head together with the first bytes of the body if they are there already, else without waiting for them. */
  flushHead(request: ClientRequest): void {
    // After the tick in which the body starts to flow.
    queueMicrotask(() => {
      if (!request.headersSent && !request.destroyed) request.flushHeaders();
    });
  }

  /** httpxy's `proxyRes`. */
  onResponse(response: IncomingMessage): void {
    this.#headReceived = true;
    this.#response = response;
    if (this.#options?.selfHandleResponse) {
      this.response.isHandedOver = true;
      this.#handlers.handedOver(response);
    } else {
      if (!isTransferDecoded(response.headers['transfer-encoding'])) {
        this.fail(new SseProxyError('UPSTREAM_INVALID_RESPONSE'));
      }
      // httpxy overwrites the Connection header before it copies the head.
      this.response.connection = response.headers.connection;
      this.response.expect(response);
    }
    this.body.onResponse();
  }

  #onBody(source: IncomingMessage): void {
    if (!this.#over) this.#handlers.head(this.response, source);
  }

  #onEmpty(): void {
    if (!this.#over) this.#handlers.empty();
  }

  #onSocket(socket: Socket): void {
    this.#bytesReadBefore = socket.bytesRead;
    this.#idleTime = idleTimeOf(socket);
    holdWriteErrors(socket);
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
    // A redirect may use a stale connection, too.
    const mayBeStale = request.reusedSocket || Boolean(this.#options?.followRedirects);
    const most = this.#options?.followRedirects ? redirectedLimit(limit) : limit;
    this.body.start(mayBeStale, most, () => this.fail(new SseProxyError('REQUEST_BODY_TOO_LARGE')));
  }

  /**
   * Notices what a request tells, before its listeners do; and what httpxy throws inside its own (of a malformed Location, say),
   * which would end the process.
   */
  #guard(request: ClientRequest): void {
    const { emit } = request;
    replaceMethod(request, 'emit', (...args: Parameters<typeof emit>) => {
      // A redirect was followed: errors of the earlier request's connection do not matter any more.
      if (args[0] === 'error' && request !== this.#request) return true;
      // The upstream has closed its connection behind its answer, in the middle of an upload.
      if (args[0] === 'error' && this.#isAnswered && isOfConnection(args[1])) return true;
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

  /** The whole answer has arrived, by its own framing: an end that is the connection's alone may be that of a broken one. */
  get #isAnswered(): boolean {
    const response = this.#response;
    if (response?.complete !== true) return false;
    const { headers, statusCode = 0 } = response;
    if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) return true;
    return !mayHaveContent(this.req.method, statusCode);
  }

  #notice([event, value]: readonly unknown[]): void {
    if (event === 'timeout') this.#timedOut = true;
    if (this.#over) return;
    if (event === 'information') this.#handlers.information(value as InformationEvent);
    const isTaken = event === 'drain' || event === 'finish';
    if (isTaken && this.#connected && !this.#headReceived) this.#handlers.taken();
  }
}

/** httpxy keeps what it may have to send once more, without a word to whoever sends it. */
function redirectedLimit(limit: number): number {
  return limit === Number.POSITIVE_INFINITY ? REDIRECTED_BODY : limit;
}

/** A system call for the connection has failed. What Node's parser says of bytes behind an answer is another matter. */
function isOfConnection(error: unknown): boolean {
  const { syscall } = error as NodeJS.ErrnoException;
  return syscall === 'write' || syscall === 'read';
}

function idleTimeOf(socket: Socket | null): number {
  return (socket && Connection.find(socket)?.idleTime) ?? 0;
}

/** The request has a body, by its own headers. */
function isFramed(request: ClientRequest): boolean {
  return request.hasHeader('transfer-encoding') || Number(request.getHeader('content-length') ?? 0) > 0;
}
