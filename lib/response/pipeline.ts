import type { Transform } from 'node:stream';
import type { ClientResponse } from '../client/client-response.js';
import { SseProxyError } from '../errors.js';
import { EventBoundary } from '../events/event-boundary.js';
import { EventReader, EventTooLarge } from '../events/event-reader.js';
import { EventTap } from '../events/event-tap.js';
import { EventTransformer } from '../events/event-transformer.js';
import { Heartbeat } from '../events/heartbeat.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import { createDecoder, isDecodable } from '../headers/content-coding.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import type { Config } from '../types/config.js';
import type { EventFields, Exchange, TransformResult } from '../types/hooks.js';
import type { Provider, Reading, RequestEdit } from '../types/provider.js';
import { isObject } from '../util/checks.js';
import { DeferredQueue } from '../util/deferred-queue.js';
import { callHook, kindOf, runHook, tryHook } from '../util/hooks.js';
import type { BodyPlan } from './body-plan.js';
import type { Relay } from './relay.js';

const EMPTY = Buffer.alloc(0);

const newReading = (): Reading => ({
  usage: {},
  reported: {},
  usageComplete: false,
  hasContent: false,
  ended: false,
});

/** What reads, edits and accompanies the events of one response, as planned by its head. */
export class Pipeline {
  /** What the body goes through on its way to the client. */
  readonly stages: readonly Transform[];
  readonly #plan: BodyPlan;
  readonly #config: Config;
  readonly #provider: Provider | undefined;
  readonly #exchange: Exchange;
  readonly #observers: ExchangeObservers;
  readonly #client: ClientResponse;
  readonly #transformer: EventTransformer | undefined;
  readonly #tap: EventTap | undefined;
  readonly #boundary: EventBoundary | undefined;
  readonly #received = new DeferredQueue<ParsedEvent>((event) => this.#read(event));
  readonly #sent = new DeferredQueue<ParsedEvent>((event) => this.#observe(event));
  #heartbeat: Heartbeat | undefined;

  /**
   * @param edit a change to the request that has to be undone in the answer
   * @throws {SseProxyError} `EVENTS_UNREADABLE`
   */
  constructor(
    plan: BodyPlan,
    config: Config,
    provider: Provider | undefined,
    exchange: Exchange,
    observers: ExchangeObservers,
    client: ClientResponse,
    edit: RequestEdit | undefined,
  ) {
    if (plan.unreadable) throw new SseProxyError('EVENTS_UNREADABLE');
    if (plan.eventStream && config.transformEvent !== undefined && !plan.edits) {
      config.logError('transformEvent was not called: the upstream forbids it by no-transform (see `noTransform`)');
    }
    this.#plan = plan;
    this.#config = config;
    this.#provider = provider;
    this.#exchange = exchange;
    this.#observers = observers;
    this.#client = client;
    const { summary } = observers;
    if (plan.reads) summary.reading = newReading();
    if (plan.eventStream && (plan.reads || plan.observes || plan.transforms)) summary.events = 0;
    if (plan.transforms) this.#transformer = this.#createTransformer(edit);
    else if (plan.reads || plan.observes) this.#tap = this.#createTap();
    if (plan.beats || plan.reportsErrors || plan.reconnects) this.#boundary = new EventBoundary(plan.format);
    const decoder = plan.decode === undefined ? undefined : createDecoder(plan.decode);
    this.stages = [decoder, this.#transformer].filter((stage) => stage !== undefined);
  }

  /** Listens to what the client is sent. */
  accompany(relay: Relay): void {
    const transformer = this.#transformer;
    const tap = this.#tap;
    const boundary = this.#boundary;
    if (transformer !== undefined && this.#plan.observes) {
      relay.observe(() => {
        for (const event of transformer.takeSent()) this.#sent.push(event);
      });
    }
    if (tap !== undefined) relay.observe((chunk) => tap.push(chunk));
    if (boundary !== undefined) relay.observe((chunk) => boundary.sent(chunk));
    if (this.#plan.beats && this.#config.heartbeat !== undefined) {
      const { interval, bytes } = this.#config.heartbeat;
      const heartbeat = new Heartbeat(interval, () => this.#beat(bytes, relay));
      this.#heartbeat = heartbeat;
      relay.observe(() => heartbeat.sent());
    }
  }

  /** The client has left. */
  detach(): void {
    this.#heartbeat?.stop();
  }

  /** The upstream's answer broke off: half an event is all that there will be of it. */
  breakOff(): void {
    this.#heartbeat?.stop();
    this.#transformer?.breakOff();
  }

  /** Has EventSource clients come back after so many milliseconds, where that can be said now. */
  askForReconnect(retry: number): void {
    if (!this.#plan.reconnects || this.#boundary?.isReached !== true) return;
    this.#insert(Buffer.from(`retry: ${retry}\n\n`));
  }

  /** Tells the client by an error event where that is possible. Nothing may be sent behind it. */
  tell(error: SseProxyError): void {
    const { format, reportsErrors } = this.#plan;
    this.#flush();
    if (!reportsErrors || this.#boundary?.isReached !== true || this.#hasEnded()) return;
    const own = { event: 'error', data: JSON.stringify(error) };
    const block = tryHook(
      'errorEvent',
      () => this.#provider?.errorEvent(error, this.#exchange),
      (fields: EventFields | null | undefined) => written(format, fields ?? own),
      this.#config.logError,
    );
    if (block !== undefined) this.#insert(Buffer.from(block));
  }

  /** An answer that was there to its end is not to be called failed. Where nobody reads it, the last chunk tells. */
  #hasEnded(): boolean {
    const { reading } = this.#observers.summary;
    if (reading !== undefined) return reading.ended;
    const { eventSize } = this.#config;
    const last = newReading();
    try {
      for (const { event } of new EventReader(this.#plan.format, eventSize).read(this.#boundary?.last ?? EMPTY)) {
        if (event !== undefined) this.#readInto(last, event);
      }
    } catch {
      // It is no end, then.
    }
    return last.ended;
  }

  /** What a stage of the body has failed with. */
  failureOf(stage: Transform, cause: Error): SseProxyError {
    if (stage !== this.#transformer) return new SseProxyError('UPSTREAM_TRUNCATED', { cause });
    if (cause instanceof SseProxyError) return cause;
    if (cause instanceof EventTooLarge) return new SseProxyError('EVENT_TOO_LARGE', { cause });
    return new SseProxyError('HOOK_FAILED', { cause, hook: 'transformEvent' });
  }

  /** No more is coming. A promise where what came is still to be read. `whole` tells an end from a cut. */
  end(whole: boolean): Promise<void> | undefined {
    this.#heartbeat?.stop();
    this.#flush();
    for (const stage of this.stages) stage.destroy();
    return this.#tap?.end(whole);
  }

  #flush(): void {
    this.#tap?.flush();
    this.#received.flush();
    this.#sent.flush();
  }

  #beat(bytes: Buffer, relay: Relay): void {
    if (this.#boundary?.isReached !== true || !this.#client.isIdle) return;
    if (this.#observers.summary.bytes === 0) relay.skipByteOrderMark();
    this.#insert(bytes);
  }

  /** Something of our own, between two events. */
  #insert(bytes: Buffer): void {
    // A hook may have promised a length, which has no room for it.
    if (this.#client.isLengthDelimited || !this.#client.takesBody) return;
    this.#observers.summary.bytes += bytes.length;
    this.#client.write([bytes], bytes.length);
  }

  #createTransformer(edit: RequestEdit | undefined): EventTransformer {
    const { transformEvent, eventSize } = this.#config;
    const { format, reads, observes, edits } = this.#plan;
    const exchange = this.#exchange;
    return new EventTransformer(format, eventSize, {
      received: (event) => {
        this.#count();
        if (reads) this.#received.push(event);
      },
      transform: (event) => {
        if (edit?.isExtra !== undefined && callHook('isExtra', () => edit.isExtra?.(event), Boolean)) return null;
        return edits ? (transformEvent?.(event, exchange) as TransformResult | Promise<TransformResult>) : event;
      },
      collectsSent: observes,
    });
  }

  #createTap(): EventTap | undefined {
    const { format, reads, observes, decodeAside } = this.#plan;
    if (decodeAside !== undefined && !isDecodable(decodeAside)) {
      this.#config.logError('events in the content coding "%s" cannot be observed', decodeAside);
      return undefined;
    }
    return new EventTap(
      format,
      this.#config.eventSize,
      (event) => {
        this.#count();
        if (reads) this.#read(event);
        if (observes) this.#observe(event);
      },
      (cause) => this.#config.logError('the rest of a response is not observed: %o', cause),
      decodeAside === undefined ? undefined : createDecoder(decodeAside),
    );
  }

  #count(): void {
    const { summary } = this.#observers;
    if (this.#plan.eventStream) summary.events = (summary.events ?? 0) + 1;
  }

  /** Has the provider take from an event what it tells. */
  #read(event: ParsedEvent): void {
    const { reading } = this.#observers.summary;
    if (reading === undefined) return;
    this.#readInto(reading, event);
    if (reading.hasContent) this.#observers.firstToken();
  }

  #readInto(reading: Reading, event: ParsedEvent): void {
    void runHook('read', () => this.#provider?.read(event, reading), this.#config.logError);
  }

  #observe(event: ParsedEvent): void {
    const { onEvent, logError } = this.#config;
    void runHook('onEvent', () => onEvent?.(event, this.#exchange), logError);
  }
}

/** @throws {TypeError} for what is no event, or none that the format can express */
function written(format: EventFormat, fields: EventFields): string {
  if (!isObject(fields)) throw new TypeError(`errorEvent must give an event, got ${kindOf(fields)}`);
  const block = format.encode?.(fields) ?? '';
  if (fields.data === undefined || block === '') throw new TypeError('errorEvent must give an event with `data`');
  return block;
}
