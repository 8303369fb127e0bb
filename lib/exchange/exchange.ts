import type { IncomingMessage, InformationEvent, ServerResponse } from 'node:http';
import { Admission, type Doorkeeper } from '../admission/admission.js';
import { confine } from '../admission/path-guard.js';
import type { ClientResponse } from '../client/client-response.js';
import { createClientResponse } from '../client/create-client-response.js';
import type { KnownSecrets } from '../credentials/secrets.js';
import { outcomeOf, SseProxyError, type SseProxyErrorOptions } from '../errors.js';
import { AttemptPlan } from '../failover/attempt-plan.js';
import type { CircuitBreaker } from '../failover/circuit-breaker.js';
import type { EventFailure, Failure } from '../failover/failure.js';
import { isIdempotent } from '../failover/retry-policy.js';
import { withheldFromClient } from '../headers/header-policy.js';
import { isHttp2 } from '../headers/http2-translation.js';
import { isJsonType } from '../headers/media-type.js';
import { withholdFromClient } from '../headers/response-passes.js';
import { costOf } from '../observe/cost.js';
import type { FailureReport, FailureScene } from '../observe/failure-report.js';
import type { UnsettledAnswers } from '../observe/unsettled-answers.js';
import { askedOf } from '../request/asked.js';
import { receivedBody } from '../request/parsed-body.js';
import { pauseFlowing } from '../request/read-body.js';
import { shareBody } from '../request/reader-encodings.js';
import type { RequestBody } from '../request/replayed-body.js';
import { Answer } from '../response/answer.js';
import { errorBodyOf } from '../response/first-event-gate.js';
import type { Config, Phase, Route } from '../types/config.js';
import type { HeaderFields } from '../types/http.js';
import { Attempt, type AttemptHandlers, type Notify, type PreparedRequest } from '../upstream/attempt.js';
import type { Upstream } from '../upstream/hpm/create-upstream.js';
import type { UpstreamResponse } from '../upstream/upstream-response.js';
import { responseHookFailed, runHook } from '../util/hooks.js';
import { makeRoomForListeners } from '../util/listeners.js';
import { askedPath } from '../util/request-target.js';
import { BaseExchange } from './base-exchange.js';
import { readingOn } from './client-departure.js';
import { Deadlines, TIMEOUT_CODES } from './deadlines.js';
import { type Decision, decide } from './decide.js';
import { FailureAnswer } from './failure-answer.js';
import { sendOwnResponse } from './own-response.js';
import { prepareRequest } from './prepare-request.js';
import {
  ATTEMPTING,
  answerOf,
  type Continuing,
  ENDED,
  HANDED_OVER,
  isBeforeHead,
  isOpen,
  PREPARING,
  type State,
  type StateAfter,
} from './state.js';

type Next = (error?: unknown) => void;

/** What the exchanges of one proxy share. */
export interface Services extends Doorkeeper {
  config: Config;
  upstream: Upstream;
  /** Who tells the developer of failures. */
  failures: FailureReport;
  /** Which answers are still to be counted. */
  answers: UnsettledAnswers;
  /** What must not come back to a client. */
  secrets: KnownSecrets;
  circuits: ReadonlyMap<Route, CircuitBreaker>;
}

/**
 * One client request, from its arrival to its one ending: what its inputs (a head, a failure, the end of a body, a client that has
 * left, a deadline, the drain) do in which state. The states are in `state.ts`, and what follows a failure in `decide.ts`.
 */
export class ProxyExchange extends BaseExchange {
  readonly res: ServerResponse;

  readonly #services: Services;
  readonly #config: Config;
  readonly #client: ClientResponse;
  readonly #next: Next | undefined;
  /** `req.url` as the app has handed it over. */
  readonly #url: string | undefined;
  /** Path and query, as the client has asked for them. */
  readonly #asked: string;
  /** `req.url` as every attempt begins with it: `pathFilter` may have changed it. */
  #startUrl: string | undefined;
  readonly #observers = BaseExchange.observersOf(this);
  readonly #deadlines: Deadlines;
  readonly #admission: Admission;
  readonly #plan: AttemptPlan;
  #state: State = PREPARING;
  /** The request body that the next attempt starts from. */
  #body: RequestBody;
  /** The current attempt, or the last one. */
  #attempt: Attempt | undefined;
  #handlers: AttemptHandlers | undefined;
  /** At least one of the attempts has reached its upstream, which may charge for it. */
  #reachedUpstream = false;
  /** The client was sent all of the answer, by the rules of its dialect: the rest of the body is not for it. */
  #isDelivered = false;
  /** When an upload was looked at last. */
  #bytesSent = -1;
  #onEnd: (() => void) | undefined;

  constructor(services: Services, req: IncomingMessage, res: ServerResponse, next: Next | undefined) {
    super(req, askedPath(req.url ?? '/'));
    const { config, circuits } = services;
    this.#services = services;
    this.#config = config;
    this.res = res;
    this.#next = next;
    this.#client = createClientResponse(req, res);
    this.#deadlines = new Deadlines(config.timeouts, (phase) => this.#onTimeout(phase), this.#observers);
    this.#url = req.url;
    this.#asked = this.path;
    this.#body = receivedBody(req);
    this.#admission = new Admission(services, config, this.#observers);
    this.#plan = new AttemptPlan({ config, circuits, exchange: this, observer: this.#observers });
  }

  /** Starts. Returns `false`, with nothing begun, if `pathFilter` says that the request is not the proxy's. */
  start(onEnd: () => void): boolean {
    const { req } = this;
    req.url = this.#asked;
    if (!this.#services.upstream.takes(req)) {
      req.url = this.#url;
      this.#observers.leftToApp();
      return false;
    }
    this.#startUrl = req.url;
    pauseFlowing(req);
    this.#observers.started();
    this.#onEnd = onEnd;
    if (req.readableEncoding) shareBody(req, (cause) => this.#onReaderFailure(cause));
    this.#deadlines.begin();
    this.#client.onceClosed(() => this.#onClosed());
    this.#client.onBroken((cause) => this.#fail(responseHookFailed(cause)));
    const { timeout } = this.#services.upstream.hpm;
    if (timeout) this.#client.limitSilence(timeout);
    this.#askForPlace();
    return true;
  }

  /** Asks for admission: once per exchange, and before any callback of the user's that may cost something. */
  #askForPlace(): void {
    let turn: Promise<void> | undefined;
    try {
      turn = this.#admission.enter(this.req, this.#asked, this.#body);
    } catch (error) {
      this.#fail(error as SseProxyError);
      return;
    }
    if (turn === undefined) this.#begin();
    else
      turn.then(
        () => this.#begin(),
        (error) => this.#fail(error),
      );
  }

  #begin(): void {
    // The exchange may have failed while it waited in the queue.
    if (this.#state.name === 'preparing') this.#send(this.#plan.begin());
  }

  /** Goes from one state to another. Which may follow which is checked by their types. */
  #enter<From extends State>(from: From, to: StateAfter<From>): void {
    const { timer } = from as { timer?: NodeJS.Timeout };
    if (timer !== undefined && timer !== (to as { timer?: NodeJS.Timeout }).timer) clearTimeout(timer);
    this.#state = to;
  }

  // --- the request --------------------------------------------------------------------------------------------------

  /** Makes an attempt. */
  #send(route: Route, freshConnection = false): void {
    const state = this.#state;
    if (!isBeforeHead(state)) return;
    this.#enter(state, PREPARING);
    // `pathRewrite` of the attempt before has changed it.
    this.req.url = this.#startUrl;
    if (this.#attempt !== undefined) {
      this.#noteReach();
      // httpxy listens to both once more with each attempt.
      makeRoomForListeners(this.req, 1);
      makeRoomForListeners(this.res, 1);
    }
    this.#handlers ??= this.#createHandlers();
    const keptBytes = this.#plan.isPossible ? this.#config.retry.maxBodySize : undefined;
    const { req, res } = this;
    const attempt = new Attempt({
      req,
      res,
      handlers: this.#handlers,
      body: this.#body,
      route,
      freshConnection,
      keptBytes,
      keepsBeginning: this.#config.reads && route.provider !== undefined && isJsonType(req.headers['content-type']),
    });
    this.#attempt = attempt;
    this.#services.upstream.send(attempt);
  }

  /** Handlers for what the attempts report. */
  #createHandlers(): AttemptHandlers {
    const deadlines = this.#deadlines;
    return {
      prepare: (attempt, path, own) => this.#prepare(attempt, path, own),
      waiting: (hook) => this.#onHook(hook),
      limitSilence: (timeout) => this.#client.limitSilence(timeout),
      sending: (target) => this.#onSending(target),
      connecting: () => deadlines.enter('connect'),
      connected: () => deadlines.enter('headers'),
      taken: () => deadlines.enter('headers'),
      handedOver: (response) => this.#onHandedOver(response),
      information: (info) => this.#onInformation(info),
      head: (response, source) => this.#onHead(response, source),
      empty: () => this.#onEmpty(),
      hookFailed: (error) => this.#services.failures.hookFailed(error, this.#scene),
      failed: (error, notify) => this.#onFailure(error, notify),
    };
  }

  /** The path is known, after `pathRewrite`. Returns what to send. */
  #prepare(attempt: Attempt, path: string, own: readonly string[]): PreparedRequest | Promise<PreparedRequest> {
    confine(path);
    this.path = path;
    return prepareRequest({
      config: this.#config,
      secrets: this.#services.secrets,
      exchange: this,
      attempt,
      own,
      body: this.#body,
      onRead: (body) => {
        this.#body = body;
      },
    });
  }

  /** The exchange waits for an async hook; `undefined` when the hook has settled. */
  #onHook(hook: string | undefined): void {
    const state = this.#state;
    if (state.name !== 'preparing') return;
    this.#enter(state, { name: 'preparing', hook });
    this.#observers.waiting(hook);
    if (hook === undefined) this.#deadlines.leave();
    else this.#deadlines.enter('headers');
  }

  #onSending(target: string): void {
    const state = this.#state;
    if (state.name === 'preparing') this.#enter(state, ATTEMPTING);
    this.#plan.sending();
    this.#observers.attempt(target, this.#attempt, this.#attempt?.route.provider?.name);
  }

  // --- the response -------------------------------------------------------------------------------------------------

  #onInformation(info: InformationEvent): void {
    const { route, secrets } = this.#attempt as Attempt;
    const headers = { ...info.headers } as HeaderFields;
    withholdFromClient(headers, {
      withholds: this.#config.responseHeaders.withholder(withheldFromClient(route.provider)),
    });
    secrets?.maskHeaders(headers);
    this.#client.inform({ ...info, headers });
  }

  /** What the request of this attempt has asked for: known at its end at the latest, and forgotten with its body. */
  #noteAsked(attempt: Attempt): void {
    if (!this.#config.reads || attempt.route.provider === undefined) return;
    const isJson = isJsonType(this.req.headers['content-type']);
    const { beginning } = attempt.body;
    this.#observers.summary.asked(askedOf(this.path, isJson ? beginning?.toString() : undefined));
  }

  /** The head of the upstream's response has arrived; `source` is its body, paused. */
  #onHead(response: UpstreamResponse, source: IncomingMessage): void {
    const attempt = this.#attempt as Attempt;
    this.#observers.head(response.statusCode, source);
    this.#noteAsked(attempt);
    try {
      const answer = this.#createAnswer(attempt, response, source);
      const state = this.#state;
      if (state.name === 'continuing') {
        this.#plan.answered(answer);
        this.#continueWith(state, answer);
      } else if (state.name === 'attempting') {
        // A hook of the user's may have sent a head of its own: only the body is left to pass on.
        if (this.#client.headersSent) this.#passOn(answer);
        else if (!this.#isMended(answer)) this.#admit(attempt, answer);
      }
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** Makes another attempt if the response is a failure that one may mend; `false` if this response is the answer. */
  #isMended(answer: Answer): boolean {
    const failure = this.#plan.isPossible ? this.#plan.failureOf(answer) : undefined;
    return failure !== undefined && this.#tryAgain(this.#decide(failure), failure);
  }

  /** Passes the response on, with `commit` after a look at its first event. */
  #admit(attempt: Attempt, answer: Answer): void {
    if (answer.isGated) void this.#gate(attempt, answer);
    else this.#accept(attempt, answer);
  }

  /** Looks at the first event before the head becomes the client's. */
  async #gate(attempt: Attempt, answer: Answer): Promise<void> {
    const state = this.#state;
    if (state.name !== 'attempting') return;
    this.#enter(state, { name: 'gating', answer, isUndecided: true });
    try {
      const failure = await answer.gate();
      if (attempt.isOver) return;
      const now: State = this.#state;
      if (now.name === 'continuing') this.#continueWith(now, answer);
      else if (failure === undefined) this.#accept(attempt, answer);
      else this.#onErrorEvent(failure);
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** Passes the response on to the client. */
  #accept(attempt: Attempt, answer: Answer): void {
    const state = this.#state;
    if (attempt.isOver || (state.name !== 'attempting' && state.name !== 'gating')) return;
    this.#plan.answered(answer);
    if (!this.#client.isItsTurn) {
      // The response is there, but has to wait for the response to an earlier request of the connection (pipelining).
      this.#deadlines.leave();
      this.#enter(state, { name: 'gating', answer, isUndecided: false });
      this.#client.onceItsTurn(() => this.#accept(attempt, answer));
      return;
    }
    // Before the commit: if that fails, what it has begun still has to be ended.
    this.#enter(state, { name: 'relaying', answer });
    try {
      answer.commit();
      attempt.response.forget();
      this.#forgetBody();
      answer.relay();
      // A response without a body is complete with its head.
      if (!this.#client.takesBody) this.#client.end([]);
    } catch (cause) {
      attempt.fail(responseHookFailed(cause));
    }
  }

  /** Lets go of the request body, since there will be no other attempt: a stream may be long, and a prompt large. */
  #forgetBody(): void {
    this.#body = 'lost';
    this.#attempt?.body.forget();
  }

  #passOn(answer: Answer): void {
    const state = this.#state;
    if (state.name !== 'attempting') return;
    this.#plan.answered(answer);
    this.#enter(state, { name: 'relaying', answer });
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
      edit: attempt.edit,
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

  /** The whole body was handed to the client, or read on without it. */
  #onBodyEnd(attempt: Attempt): void {
    const state = this.#state;
    if (state.name === 'continuing') {
      attempt.complete();
      this.#end();
    } else if (state.name === 'relaying') {
      const { answer } = state;
      // Known from what was read in earlier turns. What has come together with the end of the body may come too late for the client.
      this.#isDelivered = this.#observers.summary.reading?.ended === true;
      attempt.complete();
      this.#enter(state, { name: 'finishing', answer });
      // The client still has to take the last bytes. Before the end, which may be the exchange's own: a response without a connection is
      // sent at once.
      this.#deadlines.enter('drain');
      this.#client.end(answer.trailers);
    }
  }

  /** `selfHandleResponse`: from here on the response is the user's to send. */
  #onHandedOver(response: IncomingMessage): void {
    const { statusCode = 0, headers } = response;
    // Nobody else may read it on when the client has left; and with it the exchange is over.
    this.res.once('close', () => setImmediate(() => void response.resume()));
    response.once('close', () => {
      if (this.#state.name === 'continuing') this.#end();
    });
    const state = this.#state;
    if (state.name === 'attempting') this.#enter(state, HANDED_OVER);
    const { summary } = this.#observers;
    this.#client.handOver((size) => {
      // What the proxy sends instead, where the upstream broke off, is no part of that response.
      if (this.#state.name === 'handed-over') summary.bytes += size;
    });
    this.#observers.head(statusCode, response);
    this.#plan.answered({ statusCode, headers: headers as HeaderFields });
    this.#deadlines.stop();
    this.#forgetBody();
    this.#observers.handedOver();
  }

  /** The request was only forwarded (`forward` without a target), so there is no upstream response to wait for. */
  #onEmpty(): void {
    const state = this.#state;
    if (state.name === 'continuing') this.#end();
    if (state.name !== 'attempting') return;
    this.#enter(state, { name: 'finishing', answer: undefined });
    sendOwnResponse(this.#ownContext, { statusCode: 200, statusMessage: '', headers: { 'content-length': '0' } }, '');
  }

  get #ownContext() {
    return { client: this.#client, config: this.#config, exchange: this };
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  /** Something other than the attempt has failed: a deadline, middleware, the drain. */
  #fail(error: SseProxyError): void {
    if (this.#attempt === undefined || this.#attempt.isOver) this.#onFailure(error);
    else this.#attempt.fail(error);
  }

  /** Middleware that reads the request beside the proxy has thrown. */
  #onReaderFailure(cause: unknown): void {
    this.#fail(new SseProxyError('HOOK_FAILED', { cause, hook: 'a listener of a body' }));
  }

  #onTimeout(phase: Phase): void {
    // Over HTTP/2 a client that has the whole response may go on to send.
    if (this.#client.finished) {
      this.#end();
      return;
    }
    if (phase === 'headers' && this.#attempt?.waitsForBody === true) {
      this.#onSlowUpload(this.#attempt);
      return;
    }
    this.#fail(new SseProxyError(TIMEOUT_CODES[phase], this.#blame()));
    // The client does not read, so nothing can be told to it.
    if (phase === 'drain') this.#client.destroy();
  }

  /** Node itself has a deadline for uploads over HTTP/1.1 (`server.requestTimeout`), and none over HTTP/2. */
  #onSlowUpload(attempt: Attempt): void {
    const { bytesSent } = attempt;
    if (bytesSent === this.#bytesSent && !attempt.body.isOwn && isHttp2(this.req)) {
      this.#fail(new SseProxyError('CLIENT_TIMEOUT'));
      return;
    }
    this.#bytesSent = bytesSent;
    this.#deadlines.enter('headers');
  }

  /** Names the hook that the exchange waited for when a deadline passed. */
  #blame(): SseProxyErrorOptions {
    const hook = this.#state.name === 'preparing' ? this.#state.hook : undefined;
    return hook === undefined ? {} : { hook, cause: new Error(`\`${hook}\` has not settled in time`) };
  }

  #onFailure(error: SseProxyError, notify?: Notify): void {
    const failure: Failure = { kind: 'error', error, reached: this.#attempt?.reachedUpstream === true };
    const decision = this.#decide(failure);
    this.#services.failures.hookFailed(error, this.#scene);
    if (decision.next === 'ignore') return;
    // Pooled connections die, and clients leave: that is nothing to be told of.
    if (decision.next !== 'fresh-connection' && decision.next !== 'end') {
      this.#services.failures.failed(error, this.#scene);
    }
    this.#observers.attemptFailed(error.code);
    if (this.#attempt?.reachedUpstream) this.#noteAsked(this.#attempt);
    // Of a response that is read on, nobody is told but the account.
    if (decision.next === 'end') this.#end({ isCut: true });
    else if (decision.next === 'break-off') this.#breakOff(error, notify);
    else if (!this.#tryAgain(decision, failure))
      this.#answerFailure(error, (response) => response.notifyAndAnswer(notify));
  }

  /** The first event of a stream is an error. */
  #onErrorEvent(failure: EventFailure): void {
    const { statusCode, event } = failure;
    const error = new SseProxyError('UPSTREAM_ERROR_EVENT', { statusCode });
    this.#observers.attemptFailed(error.code);
    if (this.#tryAgain(this.#decide(failure), failure)) return;
    const { secrets, route } = this.#attempt as Attempt;
    const body = event && errorBodyOf(event, { config: this.#config, exchange: this, provider: route.provider });
    this.#answerFailure(error, (response, attempt) => {
      attempt?.abort();
      response.answer({ said: body && (secrets?.mask(body) ?? body) });
    });
  }

  get #scene(): FailureScene {
    return { target: this.target, secrets: this.#attempt?.secrets };
  }

  #decide(failure: Failure): Decision {
    const attempt = this.#attempt;
    const { name } = this.#state;
    return decide(
      failure,
      {
        isDecided: name === 'failing' || name === 'ended',
        isContinuing: name === 'continuing',
        headersSent: this.#client.headersSent,
        clientGone: this.#client.gone,
        wasStale: attempt?.wasStale(isIdempotent(this.req, this.#config.retry)) === true,
        isReplayable: attempt?.body.isReplayable === true,
      },
      this.#plan,
    );
  }

  /** Makes, or schedules, the attempt that was decided on; `false` if none is made. */
  #tryAgain(decision: Decision, failure: Failure): boolean {
    const { next } = decision;
    const attempt = this.#attempt as Attempt;
    if (next === 'answer' && decision.isBodyLost) this.#observers.cannotRetry(failure);
    if (next !== 'fresh-connection' && next !== 'retry' && next !== 'fallback') return false;
    if (!isBeforeHead(this.#state)) return false;
    const route = this.#nextRoute(next, failure);
    const body = route === undefined ? undefined : attempt.replay();
    if (route === undefined || body === undefined) return false;
    const delay = next === 'retry' ? decision.delay : 0;
    this.#observers.retry(failure, next, delay);
    this.#stopAttempt(attempt, body);
    if (delay > 0) this.#wait(route, delay);
    else this.#send(route, next === 'fresh-connection');
    return true;
  }

  #nextRoute(next: 'fresh-connection' | 'retry' | 'fallback', failure: Failure): Route | undefined {
    if (next === 'fresh-connection') return this.#plan.route;
    return next === 'retry' ? this.#plan.retry() : this.#plan.fallBack(failure);
  }

  #stopAttempt(attempt: Attempt, body: RequestBody): void {
    // A body that was edited for one target is edited anew from what the client sent.
    if (attempt.edit === undefined) this.#body = body;
    this.#deadlines.leave();
    attempt.abort();
  }

  #wait(route: Route, delay: number): void {
    const state = this.#state;
    if (isBeforeHead(state) && state.name !== 'waiting') {
      this.#enter(state, { name: 'waiting', timer: setTimeout(() => this.#send(route), delay) });
    }
  }

  /** Cuts the response, since its head has been sent. */
  #breakOff(error: SseProxyError, notify: Notify | undefined): void {
    this.#answerFailure(error, (response) => response.breakOff(answerOf(this.#state), notify)).dropUpload();
  }

  /** The exchange has failed: tells the client, then ends the attempt. */
  #answerFailure(
    error: SseProxyError,
    tell: (response: FailureAnswer, attempt: Attempt | undefined) => void,
  ): FailureAnswer {
    const attempt = this.#attempt;
    const response = new FailureAnswer({
      ...this.#ownContext,
      error,
      provider: (attempt ?? this.#plan).route.provider,
      isHandedOver: attempt?.response.isHandedOver === true,
      next: this.#handOn(error),
    });
    const state = this.#state;
    if (state.name !== 'failing' && state.name !== 'continuing' && state.name !== 'ended')
      this.#enter(state, { name: 'failing', answer: answerOf(state), response });
    this.#deadlines.stop();
    tell(response, attempt);
    attempt?.abort();
    return response;
  }

  /** Hands a failure to Express; `undefined` unless `onError` is `'next'`. */
  #handOn(error: SseProxyError): (() => void) | undefined {
    const next = this.#next;
    if (this.#config.onError !== 'next' || next === undefined) return undefined;
    return () => {
      this.req.url = this.#url;
      next(error);
    };
  }

  /** The proxy is drained. */
  protected override onDrain(): boolean {
    const state = this.#state;
    // Over HTTP/2 a client that has the whole response may go on to send.
    if (state.name === 'continuing' || this.#client.finished) this.#end();
    else if (state.name === 'failing') state.response.drain();
    // All of the response was written: the client has the moment that it is given to take it.
    else if (state.name !== 'finishing') this.#fail(new SseProxyError('DRAINED'));
    return this.#hasEnded;
  }

  protected override endNow(): void {
    if (this.#state.name === 'finishing') this.#fail(new SseProxyError('DRAINED'));
    this.#client.destroy();
    this.#end();
  }

  get #hasEnded(): boolean {
    return this.#state.name === 'ended';
  }

  // --- the one ending -----------------------------------------------------------------------------------------------

  /** The client has the whole response, or has left. */
  #onClosed(): void {
    // It may have left because of an event that was not read yet.
    const flushed = this.#client.finished ? undefined : answerOf(this.#state)?.flush();
    if (flushed === undefined) this.#onDeparture();
    else void flushed.then(() => this.#onDeparture());
  }

  #onDeparture(): void {
    const state = this.#state;
    const client = this.#client;
    if (state.name === 'relaying' && !client.finished) this.#isDelivered = state.answer.isDelivered;
    const departure = { client, attempt: this.#attempt, isDelivered: this.#isDelivered };
    const further = isOpen(state) ? readingOn(this.#config, this, departure) : undefined;
    const hasLeft = !client.finished && !this.#isDelivered && state.name !== 'failing' && state.name !== 'ended';
    if (hasLeft) this.#observers.clientLeft(further !== undefined);
    if (!isOpen(state) || further === undefined) {
      this.#end();
      return;
    }
    if (this.#isDelivered) this.#observers.summary.stopClock();
    const timer = setTimeout(() => this.#end(), further.time);
    const continuing: Continuing = { name: 'continuing', timer, limit: further.bytes, answer: undefined };
    this.#enter(state, continuing);
    // While the first event is awaited, the response is still being read there.
    const answer = state.name === 'gating' && state.isUndecided ? undefined : answerOf(state);
    if (answer !== undefined) this.#continueWith(continuing, answer);
  }

  /** Goes on reading a response, without its client. */
  #continueWith(state: Continuing, answer: Answer): void {
    this.#enter(state, { ...state, answer });
    let size = 0;
    answer.detach((bytes) => {
      size += bytes;
      if (size > state.limit) this.#end();
    });
  }

  /** @param isCut the upstream's response broke off */
  #end({ isCut = false } = {}): void {
    const state = this.#state;
    if (state.name === 'ended') return;
    this.#enter(state, ENDED);
    const failing = state.name === 'failing' ? state.response : undefined;
    failing?.end();
    this.#observers.summary.stopClock();
    this.#noteReach();
    this.#deadlines.stop();
    this.stopDrainTimer();
    const attempt = this.#attempt;
    const isWhole = failing === undefined && !isCut && (this.#client.finished || attempt?.isOver === true);
    attempt?.abort();
    this.#admission.leave();
    this.#plan.end(failing !== undefined && isOwnFault(failing.error));
    failing?.notifyLast();
    const finished = this.#client.finished || this.#isDelivered;
    const pending = answerOf(state)?.end(isWhole);
    const report = (): void => this.#report(finished, failing?.error);
    if (pending === undefined) report();
    else void pending.then(report);
  }

  #report(finished: boolean, failure: SseProxyError | undefined): void {
    const { onUsage, onFinish, logError } = this.#config;
    const { summary } = this.#observers;
    // What has cut an answer is told rather than what the answer itself says.
    const error = failure ?? this.#saidError();
    if (summary.reading !== undefined) {
      const { id } = summary.reading;
      // After an error there is nothing more to come.
      const complete = summary.usage().complete || error?.code === 'UPSTREAM_ERROR_EVENT';
      summary.isRetrieved = this.#services.answers.settle({ path: this.path, id, complete });
      summary.cost = costOf(this.#config, summary);
    }
    if (onUsage !== undefined && this.#reachedUpstream) {
      void runHook('onUsage', () => onUsage(summary.usage(), this), logError);
    }
    const outcome = error === undefined ? (finished ? 'completed' : 'client-closed') : outcomeOf(error);
    const { statusCode } = this.#client;
    this.#observers.ended(outcome, statusCode, error);
    if (onFinish !== undefined) {
      void runHook('onFinish', () => onFinish(summary.report(outcome, statusCode, error), this), logError);
    }
    this.#onEnd?.();
  }

  /** What the upstream has said within its answer. */
  #saidError(): SseProxyError | undefined {
    const error = this.#observers.summary.errors?.error;
    if (error !== undefined) this.#attempt?.secrets?.maskError(error);
    return error;
  }

  #noteReach(): void {
    this.#reachedUpstream ||= this.#attempt?.reachedUpstream === true;
  }
}

/** The failure is on this side and tells nothing about the target: a hook failed, or the request was refused. */
function isOwnFault(error: SseProxyError): boolean {
  const outcome = outcomeOf(error);
  return outcome === 'failed' || outcome === 'refused';
}
