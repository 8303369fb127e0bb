import type { IncomingMessage } from 'node:http';
import type { ClientResponse } from '../client/client-response.js';
import { maskedLog, type Secrets } from '../credentials/secrets.js';
import { BODY_LINGER, LATE_BODY_LINGER } from '../defaults.js';
import { isErrorStatus, SseProxyError } from '../errors.js';
import { firstEvent } from '../events/first-event.js';
import type { EventFailure } from '../failover/failure.js';
import { createBoundary, TailBoundary } from '../formats/event-boundary.js';
import { codingOf, isDecodable } from '../headers/content-coding.js';
import { mayHaveContent } from '../headers/framing.js';
import { withheldFromClient } from '../headers/header-policy.js';
import { first } from '../headers/header-values.js';
import { applyResponsePasses } from '../headers/response-passes.js';
import { rewriteHead } from '../headers/rewrite-headers.js';
import { withoutWithheld } from '../headers/trailers.js';
import { viaEntry } from '../headers/via.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import { readAlone } from '../request/reader-encodings.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { ResponseHead } from '../types/http.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { oncePerStream } from '../util/error-log.js';
import { type BodyPlan, planBody } from './body-plan.js';
import { EventHold } from './event-hold.js';
import { failureOf, lookPastFor } from './first-event-gate.js';
import { createInjection, type Injection } from './injection.js';
import { BodyMasking, maskHead } from './masking.js';
import { Pipeline } from './pipeline.js';
import { type BodyDeadlines, Relay } from './relay.js';
import { streamFormatOf } from './stream-format.js';

const NO_BYTES = Buffer.alloc(0);

export interface AnswerContext {
  config: Config;
  exchange: Exchange;
  observers: ExchangeObservers;
  client: ClientResponse;
  deadlines: BodyDeadlines;
  provider: Provider | undefined;
  /** The credentials of the request, which must not reach the client. */
  secrets: Secrets | undefined;
  /** How the request was edited, where the edit has to be undone in the response. */
  edit: RequestEdit | undefined;
  /** The whole body was written to the client. */
  ended(): void;
  failed(error: unknown): void;
}

/** An upstream's response, before anything was done with it. */
export interface UpstreamAnswer {
  head: ResponseHead;
  /** The letter case in which a header is sent, by its lower-case name. */
  nameOf(key: string): string;
  /** The body, paused. */
  source: IncomingMessage;
}

const SENT: ResponseHead = Object.freeze({ statusCode: 0, statusMessage: '', headers: Object.freeze({}) });

/** An upstream's response on its way to becoming the client's: its head first, and then its body. */
export class Answer {
  readonly statusCode: number;
  readonly eventStream: boolean;
  /** What is done with the body; `undefined` if it is passed on untouched. */
  readonly plan: BodyPlan | undefined;
  readonly #context: AnswerContext;
  #nameOf: (key: string) => string;
  readonly #source: IncomingMessage;
  #head: ResponseHead;
  /** Masks the credentials in a body that may repeat them. */
  readonly #masking: BodyMasking | undefined;
  #pipeline: Pipeline | undefined;
  #injection: Injection | undefined;
  #relay: Relay | undefined;
  /** Lets the body's other readers have it again, after the look at its first event. */
  #shareAgain: (() => void) | undefined;

  /** @throws whatever a user's hook throws */
  constructor(context: AnswerContext, { head, nameOf, source }: UpstreamAnswer) {
    const { config, exchange, edit, provider, secrets } = context;
    if (head.statusCode < 200) throw new SseProxyError('UPSTREAM_INVALID_RESPONSE');
    this.#context = context;
    this.#nameOf = nameOf;
    this.#source = source;
    this.#head = head;
    this.statusCode = head.statusCode;
    const { method } = exchange.req;
    const hasBody = mayHaveContent(method, head.statusCode);
    if (secrets !== undefined) {
      maskHead(secrets, head);
      const mayEcho = hasBody && (head.statusCode >= 300 || method === 'TRACE');
      if (mayEcho) this.#masking = new BodyMasking(secrets, head, config.logError);
    }
    const streamFormat = streamFormatOf(head, context);
    this.eventStream = streamFormat !== undefined;
    if (!hasBody || !(this.eventStream || config.reads)) return;
    this.plan = planBody({
      config,
      req: exchange.req,
      headers: head.headers,
      streamFormat,
      hasExtras: edit?.isExtra !== undefined,
      provider,
    });
  }

  get headers(): ResponseHead['headers'] {
    return this.#head.headers;
  }

  /** Whether the client gets other bytes than the upstream sent. */
  get isTransformed(): boolean {
    return this.plan?.transforms === true;
  }

  /** The trailers to send. A body that was transformed has none, since they describe the bytes that the upstream sent. */
  get trailers(): readonly string[] {
    if (this.isTransformed) return [];
    const { config, provider, secrets } = this.#context;
    const { rawTrailers } = this.#source;
    if (rawTrailers.length === 0) return rawTrailers;
    const withholds = config.responseHeaders.withholder(withheldFromClient(provider));
    const passed = withoutWithheld(rawTrailers, withholds);
    return secrets === undefined ? passed : passed.map((text) => secrets.mask(text));
  }

  /** Whether the head waits for the first event (`commit`). */
  get isGated(): boolean {
    const { commit } = this.#context.config;
    if (this.#masking !== undefined) return false;
    if (commit === 'head' || !this.eventStream || this.plan === undefined || this.statusCode >= 300) return false;
    if (this.plan.isUnknown) return false;
    return this.#coding === undefined || isDecodable(this.#coding);
  }

  get #coding(): string | undefined {
    return codingOf(this.headers['content-encoding']);
  }

  /** Reads the first event. Resolves with the failure that it reports, or with `undefined` if it reports none. */
  async gate(): Promise<EventFailure | undefined> {
    const { config, exchange, observers, provider } = this.#context;
    if (this.plan === undefined) return undefined;
    this.#shareAgain = readAlone(this.#source);
    const lookPast = config.commit === 'first-content' ? lookPastFor(this.#context) : undefined;
    const event = await firstEvent(this.#source, this.plan.format, this.#coding, config.eventSize, lookPast);
    return failureOf(event, { config, exchange, provider, waiter: observers });
  }

  /**
   * Sends the head to the client.
   *
   * @throws whatever a user's hook throws
   */
  commit(): void {
    const { config, exchange, client, provider } = this.#context;
    const plan = this.plan;
    const { responseHeaders } = config;
    const { method, httpVersion } = exchange.req;
    if (plan?.unreadable && isErrorStatus(this.statusCode)) throw this.#unreadableError();
    this.#createPipeline();
    applyResponsePasses(this.headers, {
      method,
      httpVersion,
      statusCode: this.statusCode,
      eventStream: this.eventStream,
      decoded: (plan?.decode ?? this.#masking?.coding) !== undefined,
      transformed: plan?.transforms === true,
      withholds: responseHeaders.withholder(withheldFromClient(provider)),
      own: responseHeaders.headersFor(exchange),
      via: viaEntry(config.via, this.#source.httpVersion),
      app: client.appHeaders,
    });
    rewriteHead(config.rewriteHeaders, this.#head, exchange);
    client.commit(this.#head, { eventStream: this.eventStream, nameOf: this.#nameOf });
    // Nobody asks for it any more, and a stream may be long.
    this.#head = SENT;
    this.#nameOf = String;
  }

  /** Keeps what the upstream says about retrying, although its body is lost. */
  #unreadableError(): SseProxyError {
    const headers: Record<string, string> = {};
    for (const name of ['retry-after', 'retry-after-ms', 'x-should-retry']) {
      const value = first(this.headers[name]);
      if (value !== undefined) headers[name] = value;
    }
    return new SseProxyError('EVENTS_UNREADABLE', { statusCode: this.statusCode, headers });
  }

  #createPipeline(): void {
    const { config, exchange, observers, client, edit, provider, secrets } = this.#context;
    const plan = this.plan;
    if (plan === undefined) return;
    const ownConfig = { ...config, logError: oncePerStream(maskedLog(config.logError, secrets)) };
    const shared = { plan, config: ownConfig, exchange, observers, provider };
    const pipeline = new Pipeline({ ...shared, edit, isError: isErrorStatus(this.statusCode) });
    this.#pipeline = pipeline;
    this.#injection = createInjection({ ...shared, client, hasEnded: (last) => pipeline.hasEnded(last) });
  }

  /** Starts to relay the body. */
  relay(): void {
    const { observers, client, deadlines, ended, failed } = this.#context;
    this.#relay = new Relay({
      source: this.#source,
      stages: [...(this.#masking?.createStages() ?? []), ...(this.#pipeline?.stages ?? [])],
      client,
      observers,
      deadlines,
      hold: this.#createHold(),
      ended,
      failed: (stage, cause) => failed(this.#pipeline?.failureOf(stage, cause) ?? cause),
    });
    this.#shareAgain?.();
    this.#pipeline?.accompany(this.#relay);
    this.#injection?.accompany(this.#relay);
  }

  /** So that an error event can be sent wherever a stream breaks off. A transform hands over whole events anyway. */
  #createHold(): EventHold | undefined {
    const { plan } = this;
    if (plan?.reportsErrors !== true || plan.transforms) return undefined;
    const boundary = createBoundary(plan.format);
    return boundary instanceof TailBoundary ? new EventHold(boundary, this.#context.config.eventSize) : undefined;
  }

  /** Reads at once what has been sent so far. Returns a promise where it has to be decoded first. */
  flush(): Promise<void> | undefined {
    return this.#pipeline?.flush();
  }

  /**
   * Whether the client was sent all of the answer, by the rules of its dialect, although the body may go on. To be asked after
   * {@link flush}; `false` where nobody knows, without a provider.
   */
  get isDelivered(): boolean {
    const pipeline = this.#pipeline;
    if (this.plan?.eventStream !== true || pipeline?.isIdle !== true || this.#relay?.isDelivered !== true) return false;
    return this.#injection?.hasEnded ?? pipeline.hasEnded(NO_BYTES);
  }

  /** Reads on without the client. The callback gets the size of each chunk that arrives from now on. */
  detach(onBytes: (bytes: number) => void): void {
    // The client may have left before the head arrived.
    if (this.#pipeline === undefined) this.#createPipeline();
    if (this.#relay === undefined) this.relay();
    this.#injection?.stop();
    this.#relay?.observe((chunk) => onBytes(chunk.length));
    this.#relay?.detach();
  }

  /** Ends a body that is incomplete: sends what has arrived of it, then an error event where that is possible, and cuts the connection. */
  breakOff(error: SseProxyError, reconnectAfter?: number): void {
    const { client } = this.#context;
    this.#injection?.stop();
    this.#pipeline?.breakOff();
    const tell = (): void => {
      if (reconnectAfter !== undefined) this.#injection?.askForReconnect(reconnectAfter);
      void this.#pipeline?.flush();
      this.#injection?.tell(error);
      client.truncate();
    };
    if (this.#relay === undefined) tell();
    else this.#relay.cut(tell, error.code === 'TOTAL_TIMEOUT' ? LATE_BODY_LINGER : BODY_LINGER);
  }

  /** Stops. Returns a promise if the tap has bytes left to read. `whole` is `false` if the body was cut. */
  end(whole: boolean): Promise<void> | undefined {
    this.#relay?.stop();
    this.#masking?.destroy();
    this.#injection?.stop();
    return this.#pipeline?.end(whole);
  }
}
