import type { IncomingMessage, InformationEvent, ServerResponse } from 'node:http';
import { Admission, type Doorkeeper } from '../admission/admission.js';
import { confine } from '../admission/path-guard.js';
import type { ClientResponse } from '../client/client-response.js';
import { createClientResponse } from '../client/create-client-response.js';
import { errorAnswer, respond } from '../client/proxy-response.js';
import { credentialsOf, withoutKey } from '../credentials/resolve-credentials.js';
import { Secrets } from '../credentials/secrets.js';
import { CONTINUE_BYTES, CONTINUE_TIME, LINGER, LISTENER_ANSWER_TIME, RECONNECT_AFTER } from '../defaults.js';
import { outcomeOf, SseProxyError, type SseProxyErrorOptions } from '../errors.js';
import { AttemptPlan } from '../failover/attempt-plan.js';
import type { CircuitBreaker } from '../failover/circuit-breaker.js';
import type { EventFailure, Failure } from '../failover/failure.js';
import { WITHHELD_FROM_CLIENT } from '../headers/header-policy.js';
import { withholdFromClient } from '../headers/response-passes.js';
import { rewriteHead } from '../headers/rewrite-headers.js';
import { ExchangeObservers } from '../observe/exchange-observers.js';
import { receivedBody } from '../request/parsed-body.js';
import { editRequest, readEditable } from '../request/provider-edit.js';
import { pauseFlowing } from '../request/read-body.js';
import { shareBody } from '../request/reader-encodings.js';
import type { RequestBody } from '../request/replayed-body.js';
import { Answer } from '../response/answer.js';
import type { Config, Phase, Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { HeaderFields, ResponseHead } from '../types/http.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import type { AttemptSummary } from '../types/summary.js';
import { Attempt, type AttemptHandlers, type Notify } from '../upstream/attempt.js';
import type { Upstream } from '../upstream/hpm/create-upstream.js';
import type { UpstreamResponse } from '../upstream/upstream-response.js';
import { responseHookFailed, runHook, tryHook } from '../util/hooks.js';
import { makeRoomForListeners } from '../util/listeners.js';
import { askedPath } from '../util/request-target.js';
import { Deadlines, TIMEOUT_CODES } from './deadlines.js';

type Next = (error?: unknown) => void;

/** What the exchanges of one proxy share. */
export interface Services extends Doorkeeper {
  config: Config;
  upstream: Upstream;
  circuits: ReadonlyMap<Route, CircuitBreaker>;
}

/** One client request, from its arrival to its one ending. */
export class ProxyExchange implements Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  path: string;

  readonly #services: Services;
  readonly #config: Config;
  readonly #client: ClientResponse;
  readonly #next: Next | undefined;
  readonly #url: string | undefined;
  /** Path and query, as the client has asked for them. */
  readonly #asked: string;
  readonly #observers: ExchangeObservers;
  readonly #deadlines: Deadlines;
  readonly #admission: Admission;
  readonly #failover: AttemptPlan;
  /** What every attempt starts from. */
  #body: RequestBody;
  #locals: Record<string, unknown> | undefined;
  #attempt: Attempt | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #continueTimer: NodeJS.Timeout | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #edit: RequestEdit | undefined;
  #answer: Answer | undefined;
  #onEnd: (() => void) | undefined;
  #notify: Notify | undefined;
  /** Ends the wait for the answer of an `error` listener. */
  #stopWaiting: (() => void) | undefined;
  /** One of them has answered. */
  #isListeners = false;
  /** The async hook that is waited for. */
  #awaitedHook: string | undefined;
  #failure: SseProxyError | undefined;
  #reachedUpstream = false;
  /** The client has its response, or has gone. */
  #isClosed = false;
  #isReported = false;

  constructor(services: Services, req: IncomingMessage, res: ServerResponse, next: Next | undefined) {
    this.#services = services;
    this.#config = services.config;
    this.req = req;
    this.res = res;
    this.#next = next;
    this.#client = createClientResponse(req, res);
    this.#observers = new ExchangeObservers(this);
    this.#deadlines = new Deadlines(services.config.timeouts, (phase) => this.#onTimeout(phase), this.#observers);
    this.#url = req.url;
    this.#asked = askedPath(req.url ?? '/');
    this.path = this.#asked;
    this.#body = receivedBody(req);
    this.#admission = new Admission(services, services.config, this.#observers);
    this.#failover = new AttemptPlan(services.config, services.circuits, this, this.#observers);
  }

  get id(): string {
    return this.#observers.id;
  }

  get attempts(): readonly AttemptSummary[] {
    return this.#observers.summary.attempts;
  }

  get target(): string | undefined {
    return this.#observers.summary.target;
  }

  get locals(): Record<string, unknown> {
    this.#locals ??= Object.create(null) as Record<string, unknown>;
    return this.#locals;
  }

  /** Starts; `false` where `pathFilter` says that the request is not the proxy's, and nothing was begun. */
  start(onEnd: () => void): boolean {
    const { timeout } = this.#config.hpm;
    const wasFlowing = pauseFlowing(this.req);
    if (!this.#send(this.#failover.route)) {
      this.req.url = this.#url;
      if (wasFlowing) this.req.resume();
      this.#observers.leftToApp();
      return false;
    }
    this.#observers.started();
    this.#onEnd = onEnd;
    if (this.req.readableEncoding) shareBody(this.req, (cause) => this.#onReaderFailure(cause));
    this.#deadlines.begin();
    this.#client.onceClosed(() => this.#onClosed());
    this.#client.onBroken((cause) => this.#fail(responseHookFailed(cause)));
    if (timeout) this.#client.limitSilence(timeout);
    return true;
  }

  /** Ends it, if it has not ended yet: the proxy is drained. Its client has a moment to take what it is told. */
  drain(): void {
    if (this.#isClosed) {
      this.#end();
      return;
    }
    this.#stopWaiting?.();
    if (this.#isListeners) this.#client.truncate();
    else this.#fail(new SseProxyError('DRAINED'));
    if (!this.#isReported) this.#drainTimer ??= setTimeout(() => this.#endNow(), LINGER);
  }

  #endNow(): void {
    this.#client.destroy();
    this.#end();
  }

  // --- the request --------------------------------------------------------------------------------------------------

  #send(route: Route, freshConnection = false): boolean {
    // `pathRewrite` changes it, and every attempt starts from what came in.
    this.req.url = this.#asked;
    this.#noteReach();
    if (this.#attempt !== undefined) {
      // httpxy listens to both once more with each attempt.
      makeRoomForListeners(this.req, 1);
      makeRoomForListeners(this.res, 1);
    }
    const deadlines = this.#deadlines;
    const handlers: AttemptHandlers = {
      prepare: (attempt, path) => this.#prepare(attempt, path),
      waiting: (hook) => this.#onWaiting(hook),
      limitSilence: (timeout) => this.#client.limitSilence(timeout),
      sending: (target) => this.#observers.attempt(target, this.#attempt),
      connecting: () => deadlines.enter('connect'),
      connected: () => deadlines.enter('headers'),
      taken: () => deadlines.enter('headers'),
      // From here on all of it is the user's.
      handedOver: () => {
        deadlines.stop();
        this.#forgetBody();
        this.#observers.handedOver();
      },
      information: (info) => this.#onInformation(info),
      head: (response, source) => this.#onHead(response, source),
      empty: () => this.#respond({ statusCode: 200, statusMessage: '', headers: { 'content-length': '0' } }, ''),
      failed: (error, notify) => this.#onFailure(error, notify),
    };
    const keptBytes = this.#failover.isPossible ? this.#config.retry.maxBodySize : undefined;
    this.#attempt = new Attempt({
      req: this.req,
      res: this.res,
      handlers,
      body: this.#body,
      route,
      freshConnection,
      keptBytes,
    });
    return this.#services.upstream.send(this.#attempt);
  }

  /** The request is the proxy's, and about to be sent. Gives the path to send. */
  #prepare(attempt: Attempt, path: string): string | Promise<string> {
    const waiting = this.#admission.enter(this.req, this.#asked, this.#body);
    return waiting === undefined ? this.#admitted(attempt, path) : waiting.then(() => this.#admitted(attempt, path));
  }

  #admitted(attempt: Attempt, path: string): string | Promise<string> {
    confine(path);
    this.path = path;
    attempt.policyHeaders = this.#config.requestHeaders.headersFor(this);
    const { provider } = attempt.route;
    return provider === undefined ? path : this.#prepareFor(provider, attempt, path);
  }

  async #prepareFor(provider: Provider, attempt: Attempt, path: string): Promise<string> {
    attempt.credentials = await credentialsOf(provider, this, attempt);
    const secrets = new Secrets(attempt.credentials ?? {});
    if (!secrets.isEmpty) attempt.secrets = secrets;
    if (attempt.ownBody === undefined) {
      this.#body = await readEditable(provider, this.req, this.#body, this.#config.requestBody);
      const { body, edit } = editRequest(provider, this, this.#body);
      attempt.body = body;
      this.#edit = edit;
    }
    return attempt.credentials === undefined ? path : withoutKey(path);
  }

  /** Before the request is sent: from then on there are other phases. */
  #onWaiting(hook: string | undefined): void {
    this.#awaitedHook = hook;
    this.#observers.waiting(hook);
    if (hook === undefined) this.#deadlines.leave();
    else this.#deadlines.enter('headers');
  }

  // --- the response -------------------------------------------------------------------------------------------------

  #onInformation(info: InformationEvent): void {
    const { route, secrets } = this.#attempt as Attempt;
    const headers = { ...info.headers } as HeaderFields;
    withholdFromClient(headers, {
      withholds: this.#config.responseHeaders.withholder(route.provider && WITHHELD_FROM_CLIENT),
    });
    secrets?.maskHeaders(headers);
    this.#client.inform({ ...info, headers });
  }

  #onHead(response: UpstreamResponse, source: IncomingMessage): void {
    const attempt = this.#attempt as Attempt;
    this.#observers.head(response.statusCode, source);
    try {
      const answer = this.#createAnswer(attempt, response, source);
      if (this.#isClosed) this.#continueWith(answer);
      // A hook of the user's has sent a head of its own: only the body is left to pass on.
      else if (this.#client.headersSent) this.#passOn(answer);
      else if (this.#isToBeMended(answer)) return;
      else if (answer.isGated) void this.#gate(attempt, answer);
      else this.#accept(attempt, answer);
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** Another attempt may do better than this response, and is made. */
  #isToBeMended(answer: Answer): boolean {
    const failure = this.#failover.isPossible ? this.#failover.failureOf(answer) : undefined;
    return failure !== undefined && this.#tryNext(failure);
  }

  /** Looks at the first event before the head becomes the client's. */
  async #gate(attempt: Attempt, answer: Answer): Promise<void> {
    try {
      const failure = await answer.gate();
      if (attempt.isOver) return;
      if (this.#isClosed) this.#continueWith(answer);
      else if (failure === undefined) this.#accept(attempt, answer);
      else this.#onGateFailure(failure);
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** It is what the client gets. */
  #accept(attempt: Attempt, answer: Answer): void {
    // Before it is committed: what it has begun by then has to be ended.
    this.#answer = answer;
    if (!this.#client.isItsTurn) {
      // It is there; what it waits for is the answer to another request.
      this.#deadlines.leave();
      this.#client.onceItsTurn(() => this.#accept(attempt, answer));
      return;
    }
    if (attempt.isOver || this.#isClosed) return;
    try {
      this.#failover.answered(answer);
      answer.commit();
      this.#forgetBody();
      answer.relay();
      // Its client has all of it with the head.
      if (!this.#client.takesBody) this.#client.end([]);
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** There will be no other attempt: a stream may be long, and a prompt large. */
  #forgetBody(): void {
    this.#body = 'lost';
    if (this.#attempt !== undefined) this.#attempt.body = 'lost';
  }

  #passOn(answer: Answer): void {
    this.#answer = answer;
    answer.relay();
  }

  #createAnswer(attempt: Attempt, response: UpstreamResponse, source: IncomingMessage): Answer {
    const context = {
      config: this.#config,
      exchange: this,
      observers: this.#observers,
      client: this.#client,
      deadlines: this.#deadlines,
      provider: attempt.route.provider,
      secrets: attempt.secrets,
      edit: this.#edit,
      ended: () => this.#onBodyEnd(attempt),
      failed: (error: unknown) => attempt.fail(error),
    };
    const answer = new Answer(context, {
      head: response.head(source),
      nameOf: (key) => response.nameOf(key),
      source,
    });
    this.#observers.planned(answer);
    return answer;
  }

  #onBodyEnd(attempt: Attempt): void {
    if (this.#failure !== undefined) return;
    attempt.complete();
    if (this.#isClosed) {
      this.#end();
      return;
    }
    this.#client.end(this.#answer?.trailers ?? []);
    // The last of it is still to be taken.
    this.#deadlines.enter('drain');
  }

  /** The first event of a stream has said that it is no answer. */
  #onGateFailure(failure: EventFailure): void {
    const { statusCode, event } = failure;
    const error = new SseProxyError('UPSTREAM_ERROR_EVENT', { statusCode });
    const { secrets } = this.#attempt as Attempt;
    this.#observers.attemptFailed(error.code);
    if (this.#tryNext(failure)) return;
    this.#failure = error;
    this.#deadlines.stop();
    this.#attempt?.abort();
    const said = event?.json() === undefined ? undefined : (secrets?.mask(event.data) ?? event.data);
    this.#answerFailure(error, { said });
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  #fail(error: SseProxyError): void {
    if (this.#attempt === undefined || this.#attempt.isOver) this.#onFailure(error);
    else this.#attempt.fail(error);
  }

  /** Middleware that reads the request beside the proxy has thrown. */
  #onReaderFailure(cause: unknown): void {
    this.#fail(new SseProxyError('HOOK_FAILED', { cause }));
    this.#config.logError('a listener of a body failed: %o', cause);
  }

  #onTimeout(phase: Phase): void {
    if (phase === 'headers' && this.#attempt?.waitsForBody === true) {
      this.#deadlines.enter('headers');
      return;
    }
    this.#fail(new SseProxyError(TIMEOUT_CODES[phase], this.#blame()));
    // It does not read: there is nothing to be told, and nothing to wait for.
    if (phase === 'drain') this.#client.destroy();
  }

  /** What a deadline has passed for, where it is no upstream. */
  #blame(): SseProxyErrorOptions {
    const hook = this.#awaitedHook;
    return hook === undefined ? {} : { hook, cause: new Error(`\`${hook}\` has not settled in time`) };
  }

  #onFailure(error: SseProxyError, notify?: Notify): void {
    if (this.#failure !== undefined || this.#isReported) return;
    this.#observers.attemptFailed(error.code);
    if (this.#isClosed) {
      this.#end();
      return;
    }
    if (!this.#client.headersSent && this.#tryAgain(error)) return;
    this.#failure = error;
    this.#deadlines.stop();
    clearTimeout(this.#retryTimer);
    const { headersSent } = this.#client;
    if (headersSent) {
      if (this.#answer === undefined) this.#client.truncate();
      else this.#answer.breakOff(error, error.code === 'DRAINED' ? RECONNECT_AFTER : undefined);
      // Not before the end: a listener that ends the response would make it look whole.
      this.#notify = notify;
    } else {
      this.#notifyAndAnswer(error, notify);
    }
    this.#attempt?.abort();
    if (headersSent) this.#dropUpload(error);
  }

  /** The rest of an upload that nobody wants any more must not block the connection. */
  #dropUpload(error: SseProxyError): void {
    if (error.code !== 'REQUEST_BODY_TOO_LARGE') this.req.resume();
  }

  /** Whoever answers in the place of the proxy may want to send it elsewhere first. */
  #leaveUpload(error: SseProxyError): void {
    this.#client.onceFinished(() => this.#dropUpload(error));
  }

  #tryAgain(error: SseProxyError): boolean {
    const attempt = this.#attempt;
    // RFC 9112 9.3.1: the upstream had closed an idle connection just when the request was sent on it.
    const stale = error.code === 'UPSTREAM_CLOSED' ? attempt?.bodyForFreshConnection() : undefined;
    if (attempt !== undefined && stale !== undefined && !this.#client.gone) {
      this.#observers.retry({ error }, 'fresh-connection', 0);
      this.#sendAgain(stale, attempt.route, true);
      return true;
    }
    return attempt !== undefined && this.#tryNext({ kind: 'error', error, reached: attempt.reachedUpstream });
  }

  /** Starts, or schedules, the next attempt, if there is one to be made. */
  #tryNext(failure: Failure): boolean {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#client.gone || !this.#failover.isPossible) return false;
    if (!attempt.isReplayable) {
      if (this.#failover.allowsAnother(failure)) this.#observers.cannotRetry(failure);
      return false;
    }
    const next = this.#failover.next(failure);
    const body = next === undefined ? undefined : attempt.replay();
    if (next === undefined || body === undefined) return false;
    this.#observers.retry(failure, next.route === attempt.route ? 'retry' : 'fallback', next.delay);
    if (next.delay > 0) {
      this.#stopAttempt(body);
      this.#retryTimer = setTimeout(() => this.#send(next.route), next.delay);
    } else {
      this.#sendAgain(body, next.route);
    }
    return true;
  }

  #stopAttempt(body: RequestBody): void {
    // An edited body is made anew from what the client has sent.
    if (this.#edit === undefined) this.#body = body;
    this.#answer = undefined;
    this.#deadlines.leave();
    this.#awaitedHook = undefined;
    this.#attempt?.abort();
  }

  #sendAgain(body: RequestBody, route: Route, freshConnection = false): void {
    this.#stopAttempt(body);
    this.#send(route, freshConnection);
  }

  /** The answer is the listeners', if they have one in time. */
  #notifyAndAnswer(error: SseProxyError, notify: Notify | undefined): void {
    const settled = notify?.();
    if (settled === undefined) {
      queueMicrotask(() => this.#answerFailure(error));
      return;
    }
    const goOn = (hasFailed = false): void => {
      if (this.#stopWaiting === undefined) return;
      this.#stopWaiting = undefined;
      clearTimeout(timer);
      this.#isListeners = this.#client.headersSent;
      if (this.#isListeners) this.#leaveToListeners(error, hasFailed);
      else this.#answerFailure(error, { hasListeners: true });
    };
    const timer = setTimeout(goOn, LISTENER_ANSWER_TIME);
    this.#stopWaiting = goOn;
    void settled.then(goOn);
  }

  #leaveToListeners(error: SseProxyError, hasFailed: boolean): void {
    this.#leaveUpload(error);
    // What it has begun nobody is going to end.
    if (hasFailed && !this.#client.gone) this.#client.truncate();
  }

  /**
   * Answers, unless a listener has.
   *
   * @param hasListeners which may still try to
   * @param said what the upstream itself says of the failure
   */
  #answerFailure(
    error: SseProxyError,
    { hasListeners = false, said }: { hasListeners?: boolean; said?: string | undefined } = {},
  ): void {
    if (this.#isClosed || this.#client.headersSent || this.#client.gone) {
      this.#leaveUpload(error);
      return;
    }
    // So may those who were to answer the client by themselves.
    const mayBeWritten = hasListeners || this.#attempt?.response.isHandedOver === true;
    this.#client.reset();
    if (this.#config.onError === 'next' && this.#next !== undefined) {
      this.req.url = this.#url;
      if (mayBeWritten) this.#client.sealWhenEnded();
      this.#leaveUpload(error);
      this.#next(error);
      return;
    }
    this.#dropUpload(error);
    const { provider } = (this.#attempt ?? this.#failover).route;
    const { head, body } = errorAnswer(error, provider, this, this.#config.logError);
    this.#respond(head, said ?? body);
    if (mayBeWritten) this.#client.seal();
  }

  /** A response of the proxy's own. */
  #respond(head: ResponseHead, body: string): void {
    if (!this.#client.isItsTurn) {
      this.#client.onceItsTurn(() => this.#respond(head, body));
      return;
    }
    if (this.#client.headersSent || this.#client.gone) return;
    const { responseHeaders, rewriteHeaders } = this.#config;
    try {
      respond(this.#client, head, body, (own) => {
        Object.assign(own.headers, responseHeaders.headersFor(this));
        rewriteHead(rewriteHeaders, own, this);
      });
    } catch {
      // Whatever it is, nobody may be left waiting.
      this.#client.destroy();
    }
  }

  // --- the one ending -----------------------------------------------------------------------------------------------

  /** The client has got its response, or has gone. */
  #onClosed(): void {
    this.#isClosed = true;
    const continues = this.#mayContinue();
    if (!this.#client.finished && this.#failure === undefined) this.#observers.clientLeft(continues);
    if (continues) this.#continueWith(this.#answer);
    else this.#end();
  }

  /** Whether the upstream's answer is still of use to the account. */
  #mayContinue(): boolean {
    // What was ended has no more to come, whether it has arrived or not.
    if (this.res.writableEnded || this.#failure !== undefined || this.#attempt?.isOver !== false) return false;
    // An upload that broke off will not be answered.
    if (!this.#reachedBy(this.#attempt) || !this.#client.hasWholeRequest) return false;
    const { onClientClose, logError } = this.#config;
    if (typeof onClientClose !== 'function') return onClientClose === 'continue';
    const continues = (choice: unknown): boolean => choice === 'continue';
    return tryHook('onClientClose', () => onClientClose(this), continues, logError) ?? false;
  }

  /** Reads an answer on for the account alone; `undefined` where its head is still to come. */
  #continueWith(answer: Answer | undefined): void {
    this.#continueTimer ??= setTimeout(() => this.#end(), CONTINUE_TIME);
    if (answer === undefined) return;
    this.#answer = answer;
    let size = 0;
    answer.detach((bytes) => {
      size += bytes;
      if (size > CONTINUE_BYTES) this.#end();
    });
  }

  #end(): void {
    if (this.#isReported) return;
    this.#isReported = true;
    // There is nobody left to be answered.
    this.#stopWaiting?.();
    this.#observers.summary.stopClock();
    this.#noteReach();
    this.#deadlines.stop();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#continueTimer);
    clearTimeout(this.#drainTimer);
    const isWhole = this.#failure === undefined && (this.#client.finished || this.#attempt?.isOver === true);
    this.#attempt?.abort();
    this.#admission.leave();
    if (this.#notify !== undefined) {
      this.#client.seal();
      void this.#notify();
    }
    const { finished } = this.#client;
    const pending = this.#answer?.end(isWhole);
    if (pending === undefined) this.#report(finished);
    else void pending.then(() => this.#report(finished));
  }

  #report(finished: boolean): void {
    const { onUsage, onFinish, logError } = this.#config;
    const error = this.#failure;
    if (onUsage !== undefined && this.#reachedUpstream) {
      void runHook('onUsage', () => onUsage(this.#observers.summary.usage(), this), logError);
    }
    const outcome = error === undefined ? (finished ? 'completed' : 'client-closed') : outcomeOf(error);
    const { statusCode } = this.#client;
    const { summary } = this.#observers;
    this.#observers.ended(outcome, statusCode, error);
    if (onFinish !== undefined) {
      void runHook('onFinish', () => onFinish(summary.report(outcome, statusCode, error), this), logError);
    }
    this.#onEnd?.();
  }

  #noteReach(): void {
    this.#reachedUpstream ||= this.#reachedBy(this.#attempt);
  }

  #reachedBy(attempt: Attempt | undefined): boolean {
    return attempt?.reachedUpstream === true;
  }
}
