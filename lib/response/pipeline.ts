import type { Transform } from 'node:stream';
import { SseProxyError } from '../errors.js';
import { ErrorWatch } from '../events/error-event.js';
import { EventTooLarge } from '../events/event-reader.js';
import { EventTap, type EventTapHooks } from '../events/event-tap.js';
import { EventTransformer } from '../events/event-transformer.js';
import { OwnEdits } from '../events/own-edits.js';
import { endsAnswer, UsageMeter } from '../events/usage-meter.js';
import type { ParsedEvent } from '../formats/format.js';
import { createDecoder, createLenientDecoder, isDecodable } from '../headers/content-coding.js';
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
  /** The status of the response says already that it is an error. */
  isError: boolean;
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
  readonly #ownEdits: OwnEdits | undefined;
  readonly #transformer: EventTransformer | undefined;
  readonly #tap: EventTap | undefined;
  /** Events that came in in front of the edits: the provider reads them after their bytes have been sent. */
  #received: DeferredQueue<ParsedEvent> | undefined;
  /** Events that the client was sent: `onEvent` gets them after their bytes have been sent. */
  #sent: DeferredQueue<ParsedEvent> | undefined;

  /** @throws {SseProxyError} `EVENTS_UNREADABLE` */
  constructor(options: PipelineOptions) {
    const { plan, config, exchange, observers, provider, edit } = options;
    if (plan.unreadable) throw new SseProxyError('EVENTS_UNREADABLE');
    if (plan.isUnknown) {
      if ((config.onEvent ?? config.transformEvent ?? config.heartbeat ?? provider) !== undefined) {
        config.logError('a stream passes as it is: its media type does not say how to find its events');
      }
    } else if (plan.eventStream && config.transformEvent !== undefined && !plan.edits) {
      config.logError('transformEvent was not called: the upstream forbids it by no-transform (see `noTransform`)');
    }
    if (plan.eventStream && edit?.isExtra !== undefined && !plan.removes) {
      config.logError('events that were asked for by an edit of the request stay in the stream: it cannot be edited');
    }
    this.#options = options;
    if (plan.reads && provider !== undefined) {
      this.#meter = new UsageMeter({ streamed: plan.eventStream, provider, exchange, logError: config.logError });
      observers.summary.reading = this.#meter.reading;
    }
    if (plan.eventStream && (plan.reads || plan.observes || plan.transforms)) observers.summary.events = 0;
    if (plan.removes) this.#ownEdits = this.#createOwnEdits();
    if (plan.edits) this.#transformer = this.#createTransformer();
    // What comes in is read in front of the edits, and what is sent is observed behind them.
    else if (plan.observes || (plan.reads && !plan.removes)) this.#tap = this.#createTap();
    const create = plan.decodesForItself ? createLenientDecoder : createDecoder;
    const decoder = plan.decode === undefined ? undefined : create(plan.decode);
    this.stages = [decoder, this.#ownEdits, this.#transformer].filter((stage) => stage !== undefined);
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
    this.#ownEdits?.breakOff(this.#options.plan.reportsErrors);
    this.#transformer?.breakOff();
  }

  /** Whether the answer is complete by the rules of its dialect; `last` is its last chunk. */
  hasEnded(last: Buffer): boolean {
    if (this.#meter !== undefined) return this.#meter.reading.ended;
    const { plan, config, exchange, provider } = this.#options;
    if (provider === undefined) return false;
    const { format, eventStream: streamed } = plan;
    const { eventSize, logError } = config;
    return endsAnswer(last, { format, eventSize, streamed, provider, exchange, logError });
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
    this.#flushQueues();
    for (const stage of this.stages) stage.destroy();
    this.#options.observers.summary.isWhole = whole;
    return this.#tap?.end(whole);
  }

  /**
   * Reads at once what has been sent so far, instead of in the next turn of the event loop. Returns a promise where it has to be decoded
   * first.
   */
  flush(): Promise<void> | undefined {
    this.#flushQueues();
    return this.#tap?.flush();
  }

  #flushQueues(): void {
    this.#received?.flush();
    this.#sent?.flush();
  }

  /** Whether all that has come in was handed on: nothing is in the stages, such as an event that a hook has to settle. */
  get isIdle(): boolean {
    return this.stages.every(({ writableLength, readableLength }) => writableLength + readableLength === 0);
  }

  #createOwnEdits(): OwnEdits {
    const { plan, config, edit } = this.#options;
    const { format } = plan;
    const { eventSize: limit, logError } = config;
    const [count, ...others] = this.#receives();
    const read = inTurn(others);
    const event: EventTapHooks['event'] = (given, part) => {
      if (part !== 'unfinished') count?.(given);
      read(given);
    };
    const hooks = { ...this.#failures('read'), event };
    return new OwnEdits({ format, limit, isExtra: (event) => edit?.isExtra?.(event), hooks, logError });
  }

  #createTransformer(): EventTransformer {
    const { plan, config, exchange, observers } = this.#options;
    const { transformEvent } = config;
    if (plan.observes) this.#sent = new DeferredQueue(this.#observes());
    return new EventTransformer(plan.format, config.eventSize, {
      received: plan.removes ? undefined : inTurn(this.#receives()),
      transform: (event) => transformEvent?.(event, exchange) as TransformResult | Promise<TransformResult>,
      waiting: (isWaiting) => observers.waiting(isWaiting ? 'transformEvent' : undefined),
      collectsSent: plan.observes,
    });
  }

  /** What is done with events as they come in: they are read when their bytes have been sent. */
  #receives(): EventSink[] {
    if (!this.#options.plan.reads) return [this.#counts()];
    const received = new DeferredQueue(this.#reads());
    this.#received = received;
    return [this.#counts(), (event) => received.push(event)];
  }

  #createTap(): EventTap | undefined {
    const { plan, config } = this.#options;
    const { format, eventStream, observes, removes, decodeAside } = plan;
    if (decodeAside !== undefined && !isDecodable(decodeAside)) {
      config.logError(`events in the content coding "${decodeAside}" cannot be observed`);
      return undefined;
    }
    const count = eventStream && !removes ? this.#counts() : undefined;
    const read = plan.reads && !removes ? this.#reads() : undefined;
    const observe = observes ? this.#observes() : undefined;
    const event: EventTapHooks['event'] = (given, part) => {
      if (part !== 'unfinished') count?.(given);
      read?.(given);
      if (part === undefined) observe?.(given);
      else if (part === 'large' && observe !== undefined) this.#tellLarge();
    };
    const hooks = { ...this.#failures('observed'), event };
    const decoder = decodeAside === undefined ? undefined : createDecoder(decodeAside);
    return new EventTap(format, config.eventSize, hooks, decoder);
  }

  /** What becomes of an account that has a gap. */
  #failures(what: 'read' | 'observed'): Omit<EventTapHooks, 'event'> {
    const { observers, config } = this.#options;
    return {
      unread: () => {
        // Behind the end of the answer nothing belongs to it.
        if (this.#meter?.reading.ended !== true) observers.summary.hasGap = true;
        this.#tellLarge();
      },
      failed: (cause) => {
        observers.summary.isBlind = true;
        config.logError(`the rest of a response is not ${what}`, cause);
      },
    };
  }

  #tellLarge(): void {
    const { eventSize, logError } = this.#options.config;
    logError(`an event is not observed: it has more than ${eventSize} bytes (\`limits.eventSize\`)`);
  }

  #counts(): EventSink {
    const { summary } = this.#options.observers;
    return () => {
      summary.events = (summary.events ?? 0) + 1;
    };
  }

  /** Has the provider read an event. */
  #reads(): EventSink {
    const { observers, plan, provider, exchange, config, isError } = this.#options;
    const meter = this.#meter;
    const isWatched = plan.eventStream && !isError && provider?.errorStatus !== undefined;
    const errors = isWatched ? new ErrorWatch(provider, exchange, config.logError) : undefined;
    observers.summary.errors = errors;
    return (event) => {
      // What follows the end of an answer does not belong to it.
      if (meter?.reading.ended !== true) errors?.look(event);
      meter?.read(event);
      if (meter?.reading.hasContent) observers.firstToken();
    };
  }

  #observes(): EventSink {
    const { exchange, config } = this.#options;
    const { onEvent, logError } = config;
    return (event) => void runHook('onEvent', () => onEvent?.(event, exchange), logError);
  }
}

/** Calls the sinks one after the other. Those that are `undefined` are left out when it is created. */
function inTurn(given: readonly (EventSink | undefined)[]): EventSink {
  const sinks = given.filter((sink) => sink !== undefined);
  const [only] = sinks;
  if (sinks.length === 1 && only !== undefined) return only;
  return (event) => {
    for (const sink of sinks) sink(event);
  };
}
