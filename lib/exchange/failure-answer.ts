import { errorAnswer } from '../client/proxy-response.js';
import { LISTENER_ANSWER_TIME, RECONNECT_AFTER } from '../defaults.js';
import type { SseProxyError } from '../errors.js';
import type { Answer } from '../response/answer.js';
import type { Provider } from '../types/provider.js';
import type { Notify } from '../upstream/attempt.js';
import { type OwnResponseContext, sendOwnResponse } from './own-response.js';

export interface FailureAnswerContext extends OwnResponseContext {
  readonly error: SseProxyError;
  /** Whose error shape the response has. */
  readonly provider: Provider | undefined;
  /** The user was to answer the client, and may still try to. */
  readonly isHandedOver: boolean;
  /** Hands the failure to Express; `undefined` where the proxy answers it (`onError`). */
  readonly next: (() => void) | undefined;
}

/** What the client gets of an exchange that has failed. */
export class FailureAnswer {
  readonly error: SseProxyError;
  readonly #context: FailureAnswerContext;
  /** Ends the wait for the answer of an `error` listener. */
  #stopWaiting: (() => void) | undefined;
  /** An `error` listener has answered. */
  #isListeners = false;
  /** Calls the `error` listeners that are called at the end only. */
  #notifyLast: Notify | undefined;
  #isOver = false;

  constructor(context: FailureAnswerContext) {
    this.error = context.error;
    this.#context = context;
  }

  /** Passes on what has arrived of a response whose head has been sent, then cuts it. */
  breakOff(answer: Answer | undefined, notify: Notify | undefined): void {
    const { error } = this;
    if (answer === undefined) this.#context.client.truncate();
    else answer.breakOff(error, error.code === 'DRAINED' ? RECONNECT_AFTER : undefined);
    // Called at the end: a listener that ends the response would make it look complete.
    this.#notifyLast = notify;
  }

  /** Leaves the answer to the `error` listeners, if one of them answers in time; else the proxy answers. */
  notifyAndAnswer(notify: Notify | undefined): void {
    const settled = notify?.();
    if (settled === undefined) {
      // Whoever was to answer may end the response in this very tick, as if it were whole.
      if (this.#context.isHandedOver) this.answer();
      else queueMicrotask(() => this.answer());
      return;
    }
    const goOn = (hasFailed = false): void => {
      if (this.#stopWaiting === undefined) return;
      this.#stopWaiting = undefined;
      clearTimeout(timer);
      this.#isListeners = this.#context.client.headersSent;
      if (this.#isListeners) this.#leaveToListeners(hasFailed);
      else this.answer({ hasListeners: true });
    };
    const timer = setTimeout(goOn, LISTENER_ANSWER_TIME);
    this.#stopWaiting = goOn;
    void settled.then(goOn);
  }

  #leaveToListeners(hasFailed: boolean): void {
    const { client } = this.#context;
    this.#leaveUpload();
    // Nobody is going to end the response that the failed listener has begun.
    if (hasFailed && !client.gone) client.truncate();
  }

  /**
   * Answers, unless a listener has.
   *
   * @param hasListeners which may still try to
   * @param said what the upstream itself says of the failure
   */
  answer({ hasListeners = false, said }: { hasListeners?: boolean; said?: string | undefined } = {}): void {
    const { client, config, exchange, provider, isHandedOver, next } = this.#context;
    if (this.#isOver || client.headersSent || client.gone) {
      this.#leaveUpload();
      return;
    }
    const mayBeWritten = hasListeners || isHandedOver;
    client.reset();
    if (next !== undefined) {
      if (mayBeWritten) client.sealWhenEnded();
      this.#leaveUpload();
      this.#dropImpossibleHeaders();
      next();
      return;
    }
    this.dropUpload();
    const { head, body } = errorAnswer(this.error, provider, { exchange, logError: config.logError });
    sendOwnResponse(this.#context, head, said ?? body);
    if (mayBeWritten) client.seal();
  }

  /** Whoever answers with the headers of the error is not to be warned by Node: `Connection` does not exist over HTTP/2. */
  #dropImpossibleHeaders(): void {
    const { headers } = this.error;
    for (const [name, value] of Object.entries(headers)) {
      if (this.#context.client.headerFor(name, value) === undefined) Reflect.deleteProperty(headers, name);
    }
  }

  /** The rest of an upload that nobody wants any more must not block the connection. */
  dropUpload(): void {
    if (this.error.code !== 'REQUEST_BODY_TOO_LARGE') this.#context.exchange.req.resume();
  }

  /** Drops the upload later: whoever answers instead of the proxy may want to read it first. */
  #leaveUpload(): void {
    this.#context.client.onceFinished(() => this.dropUpload());
  }

  /** The proxy is drained: stops waiting for listeners. */
  drain(): void {
    this.#stopWaiting?.();
    if (this.#isListeners) this.#context.client.truncate();
  }

  /** The exchange is over: nobody is left to be answered. */
  end(): void {
    this.#isOver = true;
    this.#stopWaiting?.();
  }

  /** Calls the `error` listeners that have not been called yet. */
  notifyLast(): void {
    if (this.#notifyLast === undefined) return;
    this.#context.client.seal();
    void this.#notifyLast();
  }
}
