import type { IncomingMessage, ServerResponse } from 'node:http';
import { Account } from './account.js';
import { Attempt, type AttemptHandlers } from './attempt.js';
import { ClientResponse } from './client-response.js';
import { credentialsOf, withoutKey } from './credentials.js';
import { errorResponse, outcomeOf, SseProxyError } from './errors.js';
import { EventLayer } from './event-layer.js';
import { type EventPlan, planEvents } from './event-plan.js';
import { applyResponsePasses, first, mayHaveContent } from './headers.js';
import { mustBeSync, runHook } from './hooks.js';
import { isEventStreamType, isJsonType } from './media-type.js';
import type { Config } from './options.js';
import { Relay } from './relay.js';
import { type RequestBody, requestBody } from './request-body.js';
import { editRequest } from './request-edit.js';
import type { Exchange, RequestEdit, ResponseHead } from './types.js';
import type { Upstream } from './upstream.js';
import type { UpstreamResponse } from './upstream-response.js';

type Next = (error?: unknown) => void;

/** One client request, from its arrival to its one ending. */
export class ProxyExchange implements Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  path: string;

  readonly #config: Config;
  readonly #upstream: Upstream;
  readonly #client: ClientResponse;
  readonly #next: Next | undefined;
  readonly #url: string | undefined;
  readonly #account = new Account();
  #locals: Record<string, unknown> | undefined;
  #attempt: Attempt | undefined;
  #edit: RequestEdit | undefined;
  #events: EventLayer | undefined;
  #relay: Relay | undefined;
  #onEnd: (() => void) | undefined;
  #notify: (() => Promise<void>) | undefined;
  #failure: SseProxyError | undefined;
  #reachedUpstream = false;

  constructor(config: Config, upstream: Upstream, req: IncomingMessage, res: ServerResponse, next: Next | undefined) {
    this.#config = config;
    this.#upstream = upstream;
    this.req = req;
    this.res = res;
    this.#next = next;
    this.#client = new ClientResponse(req, res);
    // `pathRewrite` changes it, and every attempt starts from what came in.
    this.#url = req.url;
    this.path = req.url ?? '/';
  }

  get attempts(): number {
    return this.#account.attempts;
  }

  get target(): string | undefined {
    return this.#account.target;
  }

  get locals(): Record<string, unknown> {
    this.#locals ??= Object.create(null) as Record<string, unknown>;
    return this.#locals;
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
    this.#noteReach();
    const handlers: AttemptHandlers = {
      prepare: (attempt, path) => this.#prepare(attempt, path),
      sending: (target) => {
        this.#account.attempts += 1;
        this.#account.target = target;
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

  // --- the request --------------------------------------------------------------------------------------------------

  async #prepare(attempt: Attempt, path: string): Promise<string> {
    this.path = path;
    const { provider } = this.#config;
    if (provider === undefined) return path;
    attempt.credentials = await credentialsOf(provider, this);
    // What is sent once more was changed the first time.
    this.#edit ??= await editRequest(provider, this, attempt);
    return attempt.credentials === undefined ? path : withoutKey(path);
  }

  // --- the response -------------------------------------------------------------------------------------------------

  #onHead(response: UpstreamResponse, source: IncomingMessage): void {
    this.#account.headers();
    try {
      // A hook of the user's has sent a head of its own: only the body is left to pass on.
      if (!this.#client.headersSent) this.#commit(response, response.head(source));
    } catch (cause) {
      this.#attempt?.fail(cause instanceof SseProxyError ? cause : hookFailed(cause));
      return;
    }
    this.#relayBody(source);
  }

  #commit(response: UpstreamResponse, head: ResponseHead): void {
    const { method, httpVersion } = this.req;
    const { statusCode, headers } = head;
    if (statusCode < 200) throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
    const eventStream = this.#isEventStream(head);
    const plan = this.#planEvents(head, eventStream);
    applyResponsePasses(headers, {
      method,
      httpVersion,
      statusCode,
      eventStream,
      decoded: plan?.decode !== undefined,
      transformed: plan?.transforms === true,
      app: this.#client.appHeaders,
    });
    this.#rewrite(head);
    this.#client.commit(head, { eventStream, nameOf: (key) => response.nameOf(key) });
  }

  #isEventStream(head: ResponseHead): boolean {
    const { isEventStream, provider } = this.#config;
    if (isEventStream !== undefined) return Boolean(mustBeSync('isEventStream', isEventStream(head)));
    const contentType = first(head.headers['content-type']);
    return isEventStreamType(contentType) || (isJsonType(contentType) && provider?.streamsArray?.(this) === true);
  }

  #planEvents(head: ResponseHead, eventStream: boolean): EventPlan | undefined {
    if (!mayHaveContent(this.req.method, head.statusCode)) return undefined;
    if (!eventStream && !this.#config.reads) return undefined;
    const hasExtras = this.#edit?.isExtra !== undefined;
    const plan = planEvents(this.#config, this.req, head, { eventStream, hasExtras });
    this.#events = new EventLayer(plan, this.#config, this, this.#account, this.#client, this.#edit);
    return plan;
  }

  #rewrite(head: ResponseHead): void {
    mustBeSync('rewriteHeaders', this.#config.rewriteHeaders?.(head, this));
  }

  #relayBody(source: IncomingMessage): void {
    const relay = new Relay(source, this.#events?.stages ?? [], this.#client, this.#account, {
      ended: () => {
        if (this.#failure !== undefined) return;
        this.#client.end(source.rawTrailers);
        this.#attempt?.complete();
      },
      failed: (stage, cause) => this.#attempt?.fail(this.#events?.failureOf(stage, cause) ?? cause),
    });
    this.#relay = relay;
    this.#events?.accompany(relay);
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
      this.#breakOff(error);
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

  /** Behind what had come until then, the client is told where that is possible, and then cut off. */
  #breakOff(error: SseProxyError): void {
    this.#events?.breakOff();
    const tell = (): void => {
      this.#events?.tell(error);
      this.#client.truncate();
    };
    if (this.#relay === undefined) tell();
    else this.#relay.cut(tell);
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
    const { head, body } = errorResponse(error, this.#errorBody(error));
    this.#respond(head, body);
  }

  #errorBody(error: SseProxyError): unknown {
    try {
      return this.#config.provider?.errorBody(error) ?? error;
    } catch (cause) {
      this.#config.logError('errorBody failed: %o', cause);
      return error;
    }
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
    this.#account.ended();
    this.#noteReach();
    this.#attempt?.abort();
    void this.#notify?.();
    this.#relay?.stop();
    const { finished } = this.#client;
    const pending = this.#events?.end(finished && this.#failure === undefined);
    if (pending === undefined) this.#report(finished);
    else void pending.then(() => this.#report(finished));
  }

  #report(finished: boolean): void {
    const { onUsage, onFinish, logError } = this.#config;
    const error = this.#failure;
    if (onUsage !== undefined && this.#reachedUpstream) {
      void runHook(
        () => onUsage(this.#account.usage(), this),
        (cause) => logError('onUsage failed: %o', cause),
      );
    }
    if (onFinish !== undefined) {
      const outcome = error === undefined ? (finished ? 'completed' : 'client-closed') : outcomeOf(error);
      const summary = this.#account.summary({ outcome, statusCode: this.#client.statusCode, error });
      void runHook(
        () => onFinish(summary, this),
        (cause) => logError('onFinish failed: %o', cause),
      );
    }
    this.#onEnd?.();
  }

  #noteReach(): void {
    this.#reachedUpstream ||= this.#attempt?.reachedUpstream === true;
  }
}

/** A hook that looks at the response failed, so it is the response that cannot be given: 502. */
function hookFailed(cause: unknown): SseProxyError {
  return new SseProxyError('HOOK_FAILED', { cause, statusCode: 502 });
}
