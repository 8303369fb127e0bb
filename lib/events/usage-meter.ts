import type { EventFormat, ParsedEvent } from '../formats/format.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider, Reading } from '../types/provider.js';
import { runHook } from '../util/hooks.js';
import { EventReader } from './event-reader.js';

const newReading = (streamed: boolean): Reading => ({
  streamed,
  usage: {},
  reported: {},
  usageComplete: false,
  hasContent: false,
  ended: false,
});

export interface UsageMeterOptions {
  /** Whether the answer is a stream of events, and not JSON in one piece. */
  streamed: boolean;
  provider: Provider;
  exchange: Exchange;
  logError: Config['logError'];
}

/**
 * Has the provider read the events of one answer: its usage, its model, its first piece of content, its end. It reads events that have
 * been sent already, and nothing that it does or fails to do affects the client.
 */
export class UsageMeter {
  /** What the provider has found so far. */
  readonly reading: Reading;
  readonly #provider: Provider;
  readonly #exchange: Exchange;
  readonly #logError: Config['logError'];

  constructor({ streamed, provider, exchange, logError }: UsageMeterOptions) {
    this.reading = newReading(streamed);
    this.#provider = provider;
    this.#exchange = exchange;
    this.#logError = logError;
  }

  read(event: ParsedEvent): void {
    void runHook('read', () => this.#provider.read(event, this.reading, this.#exchange), this.#logError);
  }
}

/** Whether a chunk ends an answer by the rules of its dialect, as the provider reads it. */
export function endsAnswer(
  chunk: Buffer,
  { format, eventSize, ...options }: UsageMeterOptions & { format: EventFormat; eventSize: number },
): boolean {
  const meter = new UsageMeter(options);
  try {
    for (const { event } of new EventReader(format, eventSize).read(chunk)) if (event !== undefined) meter.read(event);
  } catch {
    // An event that is too large does not end an answer.
  }
  return meter.reading.ended;
}
