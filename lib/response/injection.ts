import type { ClientResponse } from '../client/client-response.js';
import { DEFAULT_HEARTBEAT } from '../defaults.js';
import { isErrorStatus, type SseProxyError } from '../errors.js';
import { EventReader } from '../events/event-reader.js';
import { Heartbeat } from '../events/heartbeat.js';
import { createBoundary } from '../formats/event-boundary.js';
import type { EventFormat, ParsedEvent } from '../formats/format.js';
import type { ExchangeObservers } from '../observe/exchange-observers.js';
import type { Config } from '../types/config.js';
import type { StreamBoundary } from '../types/format.js';
import type { EventFields, Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import { isObject } from '../util/checks.js';
import { kindOf, tryHook } from '../util/hooks.js';
import type { BodyPlan } from './body-plan.js';
import type { Relay } from './relay.js';

const EMPTY: Buffer = Buffer.alloc(0);

export interface InjectionOptions {
  plan: BodyPlan;
  config: Config;
  exchange: Exchange;
  provider: Provider | undefined;
  client: ClientResponse;
  observers: ExchangeObservers;
  /** Whether the answer is complete by the rules of its dialect; `last` is its last chunk. */
  hasEnded(last: Buffer): boolean;
}

/** Inserts what is the proxy's own into a stream, always between two events: heartbeats, `retry:`, an error event. */
export class Injection {
  readonly #options: InjectionOptions;
  readonly #boundary: StreamBoundary;
  /** The last chunk that the client was sent. */
  #last = EMPTY;
  #heartbeat: Heartbeat | undefined;

  constructor(options: InjectionOptions) {
    this.#options = options;
    this.#boundary = createBoundary(options.plan.format);
  }

  /** Observes what the client is sent, and starts the heartbeats. */
  accompany(relay: Relay): void {
    const boundary = this.#boundary;
    const { plan, config } = this.#options;
    relay.observeSent((chunk) => {
      this.#last = chunk;
      boundary.sent(chunk);
    });
    if (!plan.beats || config.heartbeat === undefined) return;
    const bytes = this.#heartbeatOf(config.heartbeat.comment);
    const heartbeat = new Heartbeat(config.heartbeat.interval, () => this.#beat(bytes, relay));
    this.#heartbeat = heartbeat;
    relay.observeSent(() => heartbeat.sent());
  }

  /** Whether what the client was sent is a complete answer by the rules of its dialect. */
  get hasEnded(): boolean {
    return this.#options.hasEnded(this.#last);
  }

  /** Sends no more heartbeats. */
  stop(): void {
    this.#heartbeat?.stop();
  }

  /** @param comment of the options; `undefined` where they give none */
  #heartbeatOf(comment: string | undefined): Buffer {
    const { plan, config, exchange, provider } = this.#options;
    const { format } = plan;
    const read = (fields: EventFields | undefined) => fields && written('heartbeat', format, fields);
    const ofProvider =
      comment === undefined && provider?.heartbeat !== undefined
        ? tryHook('heartbeat', () => provider.heartbeat?.(exchange), read, config.logError)
        : undefined;
    return ofProvider ?? format.encodeComment?.(comment ?? DEFAULT_HEARTBEAT.comment) ?? EMPTY;
  }

  #beat(bytes: Buffer, relay: Relay): void {
    const { plan, client, observers } = this.#options;
    if (!this.#boundary.isReached || !client.isIdle) return;
    if (plan.format.isText && observers.summary.bytes === 0) relay.skipByteOrderMark();
    this.#insert(bytes);
  }

  /** Tells an EventSource to reconnect after `retry` milliseconds, if the stream is between two events. */
  askForReconnect(retry: number): void {
    const { reconnects, format } = this.#options.plan;
    if (reconnects && this.#boundary.isReached) this.#insert(format.encode?.({ retry }) ?? EMPTY);
  }

  /** Sends an error event, if the stream is between two events. Nothing may be sent after it. */
  tell(error: SseProxyError): void {
    const { plan, hasEnded, config, provider, exchange } = this.#options;
    // A complete answer has not failed, whatever became of its connection.
    if (!plan.reportsErrors || !this.#boundary.isReached || hasEnded(this.#last)) return;
    const last = this.#lastEvent();
    // Nor is a client told twice, by two proxies in a row.
    if (last !== undefined && this.#isError(last)) return;
    const own = { event: 'error', data: JSON.stringify(error) };
    const blocks = tryHook(
      'errorEvent',
      () => provider?.errorEvent(error, exchange, last),
      (fields: EventFields | readonly EventFields[] | null | undefined) =>
        [fields ?? own].flat().map((event) => written('errorEvent', plan.format, event)),
      config.logError,
    );
    for (const block of blocks ?? []) this.#insert(block);
  }

  /** The last event that was sent, if it is whole in the last chunk. */
  #lastEvent(): ParsedEvent | undefined {
    const { plan, config } = this.#options;
    let latest: ParsedEvent | undefined;
    try {
      for (const { event } of new EventReader(plan.format, config.eventSize).read(this.#last)) latest = event ?? latest;
    } catch {
      return undefined;
    }
    return latest;
  }

  #isError(event: ParsedEvent): boolean {
    const { config, exchange, provider } = this.#options;
    const said = event.json();
    if (event.event === 'error' || (isObject(said) && Boolean(said.error))) return true;
    const status = (): number | undefined => provider?.errorStatus?.(event, exchange);
    return tryHook('errorStatus', status, isErrorStatus, config.logError) === true;
  }

  #insert(bytes: Buffer): void {
    const { client, observers } = this.#options;
    // A hook may have set a Content-Length: it has no room for more.
    if (client.isLengthDelimited || !client.takesBody) return;
    observers.summary.bytes += bytes.length;
    client.writePiece(bytes);
  }
}

/** The injection of one response; `undefined` if nothing is ever inserted into it. */
export function createInjection(options: InjectionOptions): Injection | undefined {
  const { beats, reportsErrors, reconnects } = options.plan;
  return beats || reportsErrors || reconnects ? new Injection(options) : undefined;
}

/** @throws {TypeError} for a value that is no event, or an event that the format cannot express */
function written(hook: string, format: EventFormat, fields: EventFields): Buffer {
  if (!isObject(fields)) throw new TypeError(`${hook} must give an event, got ${kindOf(fields)}`);
  const block = format.encode?.(fields) ?? EMPTY;
  if (fields.data === undefined || block.length === 0) throw new TypeError(`${hook} must give an event with \`data\``);
  return block;
}
