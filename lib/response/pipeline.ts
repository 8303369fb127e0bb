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
  /** How the request was edited, where the edit has to be undone in the response. */
  edit: RequestEdit | undefined;
}

type EventSink = (event: ParsedEvent) => void;

/**
 * The stages that the body of one response goes through on its way to the client (a decoder, the edits of its events), and the tap that
 * reads it beside that way. They are chosen once, by the plan: nothing is created for a feature that is off.
 */
export class Pipeline {
  /** The transforms in front of the client, in order. */
  readonly stages: readonly Transform[];
  readonly #options: PipelineOptions;
  readonly #meter: UsageMeter | undefined;
  readonly #transformer: EventTransformer | undefined;
  readonly #tap: EventTap | undefined;
  /** Events that the transformer received: the provider reads them after their bytes have been sent. */
  #received: DeferredQueue<ParsedEvent> | undefined;
  /** Events that the client was sent: `onEvent` gets them after their bytes have been sent. */
  #sent: DeferredQueue<ParsedEvent> | undefined;

  /** @throws {SseProxyError} `EVENTS_UNREADABLE` */
  constructor(options: PipelineOptions) {
    const { plan, config, observers, provider } = options;
    if (plan.unreadable) throw new SseProxyError('EVENTS_UNREADABLE');
    if (plan.isUnknown) {
      if ((config.onEvent ?? config.transformEvent ?? config.heartbeat ?? provider) !== undefined) {
        config.logError('a stream passes as it is: its media type does not say how to find its events');
      }
    } else if (plan.eventStream && config.transformEvent !== undefined && !plan.edits) {
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

  /** Observes what the client is sent. */
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

  /** The body broke off: an event that is incomplete now stays incomplete. */
  breakOff(): void {
    this.#transformer?.breakOff();
  }

  /** Whether the answer is complete by the rules of its dialect; `last` is its last chunk. */
  hasEnded(last: Buffer): boolean {
    if (this.#meter !== undefined) return this.#meter.reading.ended;
    const { plan, config, provider } = this.#options;
    if (provider === undefined) return false;
    const { format, eventStream: streamed } = plan;
    const { eventSize, logError } = config;
    return endsAnswer(last, { format, eventSize, streamed, provider, logError });
  }

  /** The error that the client is told if a stage fails. */
  failureOf(stage: Transform, cause: Error): SseProxyError {
    if (stage !== this.#transformer) return new SseProxyError('UPSTREAM_TRUNCATED', { cause });
    if (cause instanceof SseProxyError) return cause;
    if (cause instanceof EventTooLarge) return new SseProxyError('EVENT_TOO_LARGE', { cause });
    return new SseProxyError('HOOK_FAILED', { cause, hook: 'transformEvent' });
  }

  /** Stops. Returns a promise if the tap has bytes left to read. `whole` is `false` if the body was cut. */
  end(whole: boolean): Promise<void> | undefined {
    this.flush();
    for (const stage of this.stages) stage.destroy();
    this.#options.observers.summary.isWhole = whole;
    return this.#tap?.end(whole);
  }

  /** Reads at once what has been sent so far, instead of in the next turn of the event loop. */
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

  /** Has the provider read an event. */
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

  /** The edits of an event: first the proxy's own, and then the user's `transformEvent`. */
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

/** Calls the sinks one after the other. Those that are `undefined` are left out when it is created. */
function inTurn(given: readonly (EventSink | undefined)[]): EventSink {
  const sinks = given.filter((sink) => sink !== undefined);
  const [only] = sinks;
  if (sinks.length === 1 && only !== undefined) return only;
  return (event) => {
    for (const sink of sinks) sink(event);
  };
}
