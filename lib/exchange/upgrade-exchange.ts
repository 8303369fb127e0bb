import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Options } from 'http-proxy-middleware';
import { Admission } from '../admission/admission.js';
import { confine } from '../admission/path-guard.js';
import { errorAnswer } from '../client/proxy-response.js';
import { turnOn } from '../client/response-turn.js';
import { UpgradeResponse } from '../client/upgrade-response.js';
import { secretsIn } from '../credentials/own-credentials.js';
import type { Secrets } from '../credentials/secrets.js';
import { EARLY_BYTES, LINGER, LISTENER_ANSWER_TIME, LONGEST_DELAY } from '../defaults.js';
import { type Outcome, outcomeOf, SseProxyError, type SseProxyErrorCode, toSseProxyError } from '../errors.js';
import { replaceMethod } from '../fast-path/replace-method.js';
import { isTransferDecoded } from '../headers/framing.js';
import { applyUpgradePasses } from '../headers/request-passes.js';
import { applyResponsePasses } from '../headers/response-passes.js';
import { rewriteHead } from '../headers/rewrite-headers.js';
import { viaEntry } from '../headers/via.js';
import { offersWebSocket } from '../headers/websocket.js';
import { BodyMasking, maskHead } from '../response/masking.js';
import type { Config, Phase } from '../types/config.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import { type Handshake, UpgradeSocket } from '../upstream/hpm/upgrade-socket.js';
import { originOf } from '../upstream/origin.js';
import { responseHookFailed, runHook } from '../util/hooks.js';
import { askedPath } from '../util/request-target.js';
import { BaseExchange } from './base-exchange.js';
import { Deadlines, TIMEOUT_CODES } from './deadlines.js';
import type { Services } from './exchange.js';
import { writeOwnResponse } from './own-response.js';

/** Calls the `error` listeners. Returns a promise if one of them is async. */
type Notify = () => Promise<unknown> | undefined;

/** Handshakes that a proxy has taken. A server may have several proxies, and an app may call `upgrade` besides `ws: true`. */
const taken = new WeakSet<IncomingMessage>();

/** One WebSocket: its handshake, and the tunnel that follows, from its arrival to its one ending. */
export class UpgradeExchange extends BaseExchange implements Handshake {
  /** The client's connection. */
  readonly socket: Socket;
  readonly head: Buffer;
  /** What http-proxy-middleware is given in the place of the client's connection. */
  readonly standIn: UpgradeSocket = new UpgradeSocket(this);

  readonly #services: Services;
  readonly #config: Config;
  readonly #response: UpgradeResponse;
  readonly #observers = BaseExchange.observersOf(this);
  readonly #deadlines: Deadlines;
  readonly #admission: Admission;
  #onEnd: (() => void) | undefined;
  /** All earlier requests of this connection have been answered (pipelining). */
  #hasTurn = false;
  /** Bytes that the client has sent behind its handshake. */
  #early: Buffer[] = [];
  #earlySize = 0;
  /** What `requestHeaders.set` puts on the request. */
  #policyHeaders: Readonly<Record<string, string>> = {};
  /** What was put on the request, and must not come back. */
  #secrets: Secrets | undefined;
  #masking: BodyMasking | undefined;
  #upgradeTimeout: number | undefined;
  #isForwarded = false;
  #request: ClientRequest | undefined;
  /** The upstream's connection, when it has switched protocols. */
  #upstream: Socket | undefined;
  #timeoutCode: SseProxyErrorCode | undefined;
  #failure: SseProxyError | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Nothing more is sent to the client, and it is expected to close its side. */
  #isClosing = false;
  #isOver = false;

  private constructor(services: Services, req: IncomingMessage, socket: Socket, head: Buffer) {
    super(req, req.url ?? '/');
    const { config } = services;
    this.#services = services;
    this.#config = config;
    this.socket = socket;
    this.head = head;
    this.#response = new UpgradeResponse(req, socket);
    this.#deadlines = new Deadlines(config.timeouts, (phase) => this.#onTimeout(phase), this.#observers);
    // A handshake has no body.
    const { allow } = config;
    this.#admission = new Admission(services, { allow, requestBody: Number.POSITIVE_INFINITY }, this.#observers);
    this.#keep(head);
  }

  /** `undefined` if the handshake is not the proxy's: `pathFilter` says so, or another proxy has taken it. */
  static take(services: Services, req: IncomingMessage, socket: Socket, head: Buffer): UpgradeExchange | undefined {
    if (taken.has(req)) return undefined;
    const { url } = req;
    if (url !== undefined) req.url = askedPath(url);
    if (services.upstream.takes(req)) {
      taken.add(req);
      return new UpgradeExchange(services, req, socket, head);
    }
    if (url !== undefined) req.url = url;
    return undefined;
  }

  get res(): ServerResponse {
    return this.#response.res;
  }

  start(onEnd: () => void): void {
    const { socket } = this;
    this.#onEnd = onEnd;
    this.#observers.started();
    this.#deadlines.begin();
    // Never removed: a late write by a listener of the user's must not end the process.
    socket.on('error', () => {});
    socket.once('close', this.#onClosed);
    socket.once('end', this.#onLeft);
    // While bytes stay unread, Node does not tell that the client has left.
    socket.on('data', this.#keep);
    // From Node 26 on a handshake can have a body, which nobody reads.
    this.req.resume();
    void this.#begin();
  }

  async #begin(): Promise<void> {
    const { socket } = this;
    try {
      await turnOn(socket);
      this.#hasTurn = true;
      if (socket.destroyed || socket.readableEnded) this.#end();
      if (this.#isOver) return;
      // As httpxy does.
      socket.setTimeout(0);
      socket.setNoDelay(true);
      socket.setKeepAlive(true);
      await this.#admission.enter(this.req, this.path, 'stream');
      if (this.#isOver || this.#failure !== undefined) return;
      if (this.req.method !== 'GET') throw new SseProxyError('METHOD_NOT_ALLOWED', { headers: { allow: 'GET' } });
      // A provider's credentials are put on requests only: a WebSocket would be sent with the caller's.
      if (!offersWebSocket(this.req) || this.#config.provider !== undefined) {
        throw new SseProxyError('UPGRADE_NOT_SUPPORTED');
      }
      // An async `router` or `pathRewrite` may never settle.
      this.#deadlines.enter('headers');
      this.#services.upstream.upgrade(this);
    } catch (error) {
      this.fail(error);
    }
  }

  // --- the client ---------------------------------------------------------------------------------------------------

  readonly #keep = (bytes: Buffer): void => {
    if (bytes.length > 0) this.#early.push(bytes);
    this.#earlySize += bytes.length;
    if (this.#earlySize > EARLY_BYTES) this.socket.pause();
  };

  /** The client has closed its side of the connection. Before the response that means that it has left, as for Node's server. */
  readonly #onLeft = (): void => {
    if (this.#response.headersSent || this.#isClosing) return;
    this.#end();
    this.socket.destroy();
  };

  readonly #onClosed = (): void => this.#end();

  // --- the handshake ------------------------------------------------------------------------------------------------

  /**
   * The request is about to be sent upstream, with these options.
   *
   * @throws {SseProxyError} `PATH_OUTSIDE_TARGET`, `HOOK_FAILED`, `TARGET_MISSING`; `PROXY_FAILED` where nobody waits for it any more
   */
  prepare(path: string, options: Options, own: readonly string[]): void {
    if (this.#isOver || this.#failure !== undefined) throw new SseProxyError('PROXY_FAILED');
    confine(path);
    this.path = path;
    this.#policyHeaders = this.#config.requestHeaders.headersFor(this);
    this.#secrets = this.#services.secrets.of(undefined, [...own, ...secretsIn(this.#policyHeaders)]);
    // Our pass appends the peer's address; with httpxy's a client can hide it.
    this.#isForwarded = Boolean(options.xfwd);
    options.xfwd = false;
    // httpxy would leave the client without an answer.
    this.#upgradeTimeout = options.upgradeTimeout;
    options.upgradeTimeout = 0;
    this.#observers.attempt(originOf(options.target));
  }

  /** httpxy's `proxyReqWs`: the upstream request is made, and nothing of it was sent yet. */
  onRequest(request: ClientRequest, { headers = {} }: Options): void {
    this.#request = request;
    // A hook has left an empty path, for which http-proxy-middleware does not call `pathRewrite`.
    if (this.target === undefined) this.fail(new SseProxyError('PROXY_FAILED'));
    if (this.#isOver || this.#failure !== undefined) {
      request.destroy();
      return;
    }
    applyUpgradePasses(request, {
      req: this.req,
      policy: this.#config.requestHeaders,
      hasSecrets: this.#secrets !== undefined,
      set: this.#policyHeaders,
      own: Object.keys(headers).map((name) => name.toLowerCase()),
      via: viaEntry(this.#config.via, this.req.httpVersion),
      isForwarded: this.#isForwarded,
    });
    request.once('response', (response) => this.#onRefusal(response));
    request.once('upgrade', (response, socket: Socket) => this.#onSwitch(response, socket));
    if (this.#upgradeTimeout !== undefined) this.#limitHandshake(this.#upgradeTimeout);
    else this.#watchConnection(request);
  }

  /** http-proxy-middleware's `upgradeTimeout` replaces our deadlines; 0 is no limit. */
  #limitHandshake(timeout: number): void {
    this.#deadlines.leave();
    if (timeout > 0) this.#timer = setTimeout(() => this.#giveUp('UPSTREAM_TIMEOUT'), Math.min(timeout, LONGEST_DELAY));
  }

  #watchConnection(request: ClientRequest): void {
    this.#deadlines.enter('connect');
    const onConnect = (): void => {
      if (!this.#response.headersSent && this.#failure === undefined && !this.#isOver) this.#deadlines.enter('headers');
    };
    request.once('socket', (socket) => {
      if (socket.connecting)
        socket.once((socket as Partial<TLSSocket>).encrypted ? 'secureConnect' : 'connect', onConnect);
      else onConnect();
    });
  }

  /** The upstream answers without switching protocols: the client gets that answer. */
  #onRefusal(response: IncomingMessage): void {
    const { res } = this;
    this.#answered(response);
    // An incomplete response is noticed when it closes.
    response.on('error', () => {});
    let body: Readable;
    try {
      if (!isTransferDecoded(response.headers['transfer-encoding']))
        throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
      const head = this.#headOf(response);
      body = this.#masked(response);
      this.#response.relay(head, body);
    } catch (cause) {
      this.fail(responseHookFailed(cause));
      return;
    }
    this.#deadlines.enter('idle');
    body.on('data', (bytes: Buffer) => {
      this.#observers.summary.bytes += bytes.length;
      this.#deadlines.enter('idle');
    });
    response.once('close', () => {
      if (!response.complete) this.fail(new SseProxyError('UPSTREAM_TRUNCATED'));
      else if (!res.writableFinished) this.#deadlines.enter('drain');
    });
    res.once('finish', () => this.#close());
  }

  /** The body of a refusal. One that may repeat what was put on the request is searched for it. */
  #masked(response: IncomingMessage): Readable {
    const stages = this.#masking?.createStages() ?? [];
    return stages.reduce<Readable>((source, stage) => {
      // A coding that breaks off, or is none.
      stage.on('error', (cause) => this.fail(new SseProxyError('UPSTREAM_INVALID_RESPONSE', { cause })));
      return source.pipe(stage);
    }, response);
  }

  /** The upstream has switched protocols: so does the proxy. */
  #onSwitch(response: IncomingMessage, upstream: Socket): void {
    this.#upstream = upstream;
    this.#answered(response);
    const { pipe } = upstream;
    // httpxy puts back what was read behind the head before it joins the two.
    replaceMethod(upstream, 'pipe', (destination, options) => {
      if ((destination as unknown) !== this.standIn)
        return pipe.call(upstream, destination, options) as typeof destination;
      if (this.#failure === undefined && !this.#isOver) this.#join(upstream);
      return destination;
    });
    try {
      if (!offersWebSocket(response)) throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
      const head = this.#headOf(response);
      if (head.statusCode !== 101) throw new RangeError('`rewriteHeaders` cannot change the status of a 101');
      const { 'content-length': _length, ...headers } = head.headers;
      this.#response.switchProtocols({ ...head, headers: { ...headers, connection: 'Upgrade', upgrade: 'websocket' } });
      this.#observers.switched();
    } catch (cause) {
      this.fail(responseHookFailed(cause));
    }
  }

  #answered(response: IncomingMessage): void {
    clearTimeout(this.#timer);
    this.#deadlines.leave();
    this.#observers.head(response.statusCode ?? 0, response);
  }

  /**
   * The head that the client gets instead of the upstream's.
   *
   * @throws whatever `rewriteHeaders` throws
   */
  #headOf({ statusCode = 0, statusMessage = '', headers, httpVersion: receivedBy }: IncomingMessage): ResponseHead {
    const { responseHeaders, rewriteHeaders, via } = this.#config;
    const { method, httpVersion } = this.req;
    const head: ResponseHead = { statusCode, statusMessage, headers: { ...headers } as HeaderFields };
    if (this.#secrets !== undefined) {
      maskHead(this.#secrets, head);
      if (statusCode >= 300) this.#masking = new BodyMasking(this.#secrets, head, this.#config.logError);
    }
    applyResponsePasses(head.headers, {
      method,
      httpVersion,
      statusCode,
      eventStream: false,
      decoded: this.#masking?.coding !== undefined,
      transformed: false,
      withholds: responseHeaders.withholder(undefined),
      own: responseHeaders.headersFor(this),
      via: viaEntry(via, receivedBy),
      app: {},
    });
    // Trailers are not passed on here.
    delete head.headers.trailer;
    rewriteHead(rewriteHeaders, head, this);
    return head;
  }

  // --- the tunnel ---------------------------------------------------------------------------------------------------

  #join(upstream: Socket): void {
    const { socket } = this;
    socket.removeListener('data', this.#keep);
    for (const bytes of this.#early.splice(0)) upstream.write(bytes);
    if (this.#config.onFinish !== undefined) {
      upstream.on('data', (bytes: Buffer) => {
        this.#observers.summary.bytes += bytes.length;
      });
    }
    upstream.pipe(socket);
    socket.pipe(upstream);
    upstream.once('end', () => this.#expectEnd(socket));
    socket.once('end', () => this.#expectEnd(upstream));
    upstream.once('close', () => {
      if (!upstream.readableEnded) this.fail(new SseProxyError('UPSTREAM_TRUNCATED'));
      else if (socket.writableFinished) this.#close();
      else {
        this.#deadlines.enter('drain');
        socket.once('finish', () => this.#close());
      }
    });
  }

  /** One side has ended. The other may go on sending, within the idle deadline. */
  #expectEnd(other: Socket): void {
    this.#deadlines.enter('idle');
    other.on('data', () => this.#deadlines.enter('idle'));
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  protected override onDrain(): boolean {
    if (this.#isClosing || this.#failure !== undefined) this.#end();
    else this.fail(new SseProxyError('DRAINED'));
    return this.#isOver;
  }

  protected override endNow(): void {
    this.#end();
  }

  #onTimeout(phase: Phase): void {
    this.#giveUp(TIMEOUT_CODES[phase]);
  }

  #giveUp(code: SseProxyErrorCode): void {
    if (this.#request === undefined || this.#response.headersSent) {
      this.fail(new SseProxyError(code));
      return;
    }
    this.#timeoutCode = code;
    // Listeners of `on.error` are told what httpxy would tell them.
    const error = new Error('Upstream WebSocket upgrade timed out');
    this.#request.destroy(Object.assign(error, { code: 'ERR_UPSTREAM_UPGRADE_TIMEOUT', statusCode: 504 }));
  }

  fail(cause: unknown, notify?: Notify): void {
    const { headersSent } = this.#response;
    const error =
      this.#timeoutCode === undefined
        ? toSseProxyError(cause, headersSent)
        : new SseProxyError(this.#timeoutCode, { cause });
    // Not before: what came instead of HTTP is told by its bytes, which are not kept.
    this.#secrets?.maskError(error);
    const { failures } = this.#services;
    failures.hookFailed(error, { secrets: this.#secrets });
    if (this.#isOver || this.#isClosing || this.#failure !== undefined) return;
    failures.failed(error, { target: this.target, secrets: this.#secrets });
    this.#failure = error;
    this.#observers.attemptFailed(error.code);
    this.#stopUpstream();
    if (!this.#hasTurn) this.#end();
    // A request that was refused is no failure of the upstream: its listeners are not called.
    else if (!headersSent) this.#answerFailure(error, outcomeOf(error) === 'refused' ? undefined : notify);
    else {
      this.#close(this.#upstream === undefined);
      void notify?.();
    }
  }

  #stopUpstream(): void {
    clearTimeout(this.#timer);
    this.#deadlines.stop();
    this.#request?.destroy();
    this.#upstream?.destroy();
    this.#masking?.destroy();
  }

  /** Leaves the answer to the `on.error` listeners, if one of them answers in time. */
  #answerFailure(error: SseProxyError, notify: Notify | undefined): void {
    const { socket } = this;
    const { bytesWritten } = socket;
    const isAnswered = (): boolean => !socket.writable || socket.bytesWritten > bytesWritten;
    const answer = (): void => {
      if (this.#isOver || this.#isClosing) return;
      if (!isAnswered()) this.#respond(error);
      this.#close();
    };
    const settled = notify?.();
    if (settled === undefined || isAnswered()) {
      answer();
      return;
    }
    this.#timer = setTimeout(answer, LISTENER_ANSWER_TIME);
    settled.then(answer, answer);
  }

  #respond(error: SseProxyError): void {
    const config = this.#config;
    const { head, body } = errorAnswer(error, config.provider, { exchange: this, logError: config.logError });
    try {
      writeOwnResponse({ client: this.#response, config, exchange: this }, head, body);
    } catch {
      // Whatever it is, nobody may be left waiting.
      this.socket.destroy();
    }
  }

  // --- the one ending -----------------------------------------------------------------------------------------------

  /** Sends nothing more to the client. What was written is still delivered to a client that reads. */
  #close(isTruncated = false): void {
    const { socket } = this;
    if (this.#isOver || this.#isClosing) return;
    this.#isClosing = true;
    this.#stopUpstream();
    socket.unpipe();
    socket.removeListener('data', this.#keep);
    // Closing a connection with unread bytes resets it, and the client may lose what was written.
    socket.resume();
    if (isTruncated) this.#response.truncate();
    else socket.end();
    this.#timer = setTimeout(() => socket.destroy(), LINGER);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { socket } = this;
    this.#observers.summary.stopClock();
    this.stopDrainTimer();
    // Before it is destroyed.
    const outcome = this.#outcome();
    this.#stopUpstream();
    this.#early = [];
    socket.removeListener('close', this.#onClosed);
    socket.removeListener('end', this.#onLeft);
    socket.removeListener('data', this.#keep);
    // An earlier response may still be on its way.
    if (this.#hasTurn) socket.destroy();
    else void turnOn(socket).then(() => socket.destroy());
    // httpxy waits for this event.
    this.standIn.emit('close');
    this.#admission.leave();
    this.#report(outcome);
    this.#onEnd?.();
  }

  #outcome(): Outcome {
    if (this.#failure !== undefined) return outcomeOf(this.#failure);
    const isWhole = this.#upstream === undefined ? this.#response.finished : this.#upstream.readableEnded;
    return isWhole ? 'completed' : 'client-closed';
  }

  #report(outcome: Outcome): void {
    const { onFinish, logError } = this.#config;
    const { statusCode } = this.#response;
    const error = this.#failure;
    this.#observers.ended(outcome, statusCode, error);
    if (onFinish === undefined) return;
    const summary = this.#observers.summary.report(outcome, statusCode, error);
    void runHook('onFinish', () => onFinish(summary, this), logError);
  }
}
