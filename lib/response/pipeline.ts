import type { Transform } from 'node:stream';
import { SseProxyError } from '../errors.js';
import { EventTooLarge } from '../events/event-reader.js';
import { EventTap } from '../events/event-tap.js';
import { EventTransformer, type EventTransformerHooks } from '../events/event-transformer.js';
import { extrasOf } from '../events/own-edits.js';
import { endsAnswer, UsageMeter } from '../events/usage-meter.js';
import type { ParsedEvent } from '../formats/format.js';
import { createDecoder, isDecodable } from '../headers/content-coding.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import type { Config } from '../types/config.js';
import type { Exchange, TransformResult } from '../types/hooks.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { DeferredQueue } from '../util/deferred-queue.js';
import { runHook } from '../util/hooks.js';
import type { BodyPlan } from './body-plan.js';
import type { Relay } from './relay.js';

export interface PipelineOptions {
  plan: BodyPlan;
  config: Config;
  exchange: Exchange;
  observers: ExchangeObservers;
  provider: Provider | undefined;
  /** A change to the request that has to be undone in the answer. */
  edit: RequestEdit | undefined;
}

type EventSink = (event: ParsedEvent) => void;

/**
 * What the body of one response goes through on its way to the client (stages: a decoder, the edits of its events), and what reads it
 * beside that way (taps). All of it is chosen once, by the plan: what is off is not there.
 */
export class Pipeline {
  /** In their order. */
  readonly stages: readonly Transform[];
  readonly #options: PipelineOptions;
  readonly #meter: UsageMeter | undefined;
  readonly #transformer: EventTransformer | undefined;
  readonly #tap: EventTap | undefined;
  /** What the transformer was given, to be read when its bytes have left. */
  #received: DeferredQueue<ParsedEvent> | undefined;
  /** What the client was sent of it, to be observed then. */
  #sent: DeferredQueue<ParsedEvent> | undefined;

  /** @throws {SseProxyError} `EVENTS_UNREADABLE` */
  constructor(options: PipelineOptions) {
    const { plan, config, observers, provider } = options;
    if (plan.unreadable) throw new SseProxyError('EVENTS_UNREADABLE');
    if (plan.eventStream && config.transformEvent !== undefined && !plan.edits) {
      config.logError('transformEvent was not called: the upstream forbids it by no-transform (see `noTransform`)');
    }
    this.#options = options;
    if (plan.reads && provider !== undefined) {
      this.#meter = new UsageMeter({ streamed: plan.eventStream, provider, logError: config.logError });
      observers.summary.reading = this.#meter.reading;
    }
    if (plan.eventStream && (plan.reads || plan.observes || plan.transforms)) observers.summary.events = 0;
    if (plan.transforms) this.#transformer = this.#createTransformer();
    else if (plan.reads || plan.observes) this.#tap = this.#createTap();
    const decoder = plan.decode === undefined ? undefined : createDecoder(plan.decode);
    this.stages = [decoder, this.#transformer].filter((stage) => stage !== undefined);
  }

  /** Listens to what the client is sent. */
  accompany(relay: Relay): void {
    const transformer = this.#transformer;
    const tap = this.#tap;
    const sent = this.#sent;
    if (transformer !== undefined && sent !== undefined) {
      relay.observe(() => {
        for (const event of transformer.takeSent()) sent.push(event);
      });
    }
    if (tap !== undefined) relay.observe((chunk) => tap.push(chunk));
  }

  /** The upstream's answer broke off: half an event is all that there will be of it. */
  breakOff(): void {
    this.#transformer?.breakOff();
  }

  /** Whether the answer, the last chunk of which is this, was there to its end by the rules of its dialect. */
  hasEnded(last: Buffer): boolean {
    if (this.#meter !== undefined) return this.#meter.reading.ended;
    const { plan, config, provider } = this.#options;
    if (provider === undefined) return false;
    const { format, eventStream: streamed } = plan;
    const { eventSize, logError } = config;
    return endsAnswer(last, { format, eventSize, streamed, provider, logError });
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
    this.flush();
    for (const stage of this.stages) stage.destroy();
    this.#options.observers.summary.isWhole = whole;
    return this.#tap?.end(whole);
  }

  /** Reads now what has come so far. */
  flush(): void {
    this.#tap?.flush();
    this.#received?.flush();
    this.#sent?.flush();
  }

  #createTransformer(): EventTransformer {
    const { plan, config, observers } = this.#options;
    const received = plan.reads ? new DeferredQueue(this.#reads()) : undefined;
    this.#received = received;
    if (plan.observes) this.#sent = new DeferredQueue(this.#observes());
    return new EventTransformer(plan.format, config.eventSize, {
      received: inTurn([this.#counts(), received && ((event) => received.push(event))]),
      transform: this.#edits(),
      waiting: (isWaiting) => observers.waiting(isWaiting ? 'transformEvent' : undefined),
      collectsSent: plan.observes,
    });
  }

  #createTap(): EventTap | undefined {
    const { plan, config, observers } = this.#options;
    const { format, eventStream, reads, observes, decodeAside } = plan;
    if (decodeAside !== undefined && !isDecodable(decodeAside)) {
      config.logError('events in the content coding "%s" cannot be observed', decodeAside);
      return undefined;
    }
    return new EventTap(
      format,
      config.eventSize,
      inTurn([
        eventStream ? this.#counts() : undefined,
        reads ? this.#reads() : undefined,
        observes ? this.#observes() : undefined,
      ]),
      (cause) => {
        observers.summary.isBlind = true;
        config.logError('the rest of a response is not observed: %o', cause);
      },
      decodeAside === undefined ? undefined : createDecoder(decodeAside),
    );
  }

  #counts(): EventSink {
    const { summary } = this.#options.observers;
    return () => {
      summary.events = (summary.events ?? 0) + 1;
    };
  }

  /** Has the provider take from an event what it tells. */
  #reads(): EventSink {
    const { observers } = this.#options;
    const meter = this.#meter;
    return (event) => {
      meter?.read(event);
      if (meter?.reading.hasContent) observers.firstToken();
    };
  }

  #observes(): EventSink {
    const { exchange, config } = this.#options;
    const { onEvent, logError } = config;
    return (event) => void runHook('onEvent', () => onEvent?.(event, exchange), logError);
  }

  /** What becomes of an event on its way: the proxy's own edits come first, and behind them the user's. */
  #edits(): EventTransformerHooks['transform'] {
    const { plan, config, exchange, edit } = this.#options;
    const { transformEvent } = config;
    const isExtra = extrasOf(edit);
    const users =
      plan.edits && transformEvent !== undefined
        ? (event: ParsedEvent) => transformEvent(event, exchange) as TransformResult | Promise<TransformResult>
        : undefined;
    if (isExtra === undefined) return users ?? unchanged;
    return users === undefined
      ? (event) => (isExtra(event) ? null : event)
      : (event) => (isExtra(event) ? null : users(event));
  }
}

const unchanged = (event: ParsedEvent): ParsedEvent => event;

/** One after the other; what is off is left out once and for all. */
function inTurn(given: readonly (EventSink | undefined)[]): EventSink {
  const sinks = given.filter((sink) => sink !== undefined);
  const [only] = sinks;
  if (sinks.length === 1 && only !== undefined) return only;
  return (event) => {
    for (const sink of sinks) sink(event);
  };
}
