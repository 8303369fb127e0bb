import type { Outcome, SseProxyError, SseProxyErrorCode } from '../errors.js';
import type { Asked } from '../request/asked.js';
import type { Reading } from '../types/provider.js';
import type { AttemptSummary, StreamSummary, Usage } from '../types/summary.js';
import type { Observer } from './observer.js';
import { hasFigures, usageOf } from './usage.js';

/** Collects the summary of one exchange. It is the one observer that every exchange has. */
export class Summary implements Omit<Observer, 'attempt'> {
  readonly attempts: AttemptSummary[] = [];
  bytes = 0;
  /** `undefined` where events are not read. */
  events: number | undefined;
  /** A provider fills it in. `undefined` where the answer is not read. */
  reading: Reading | undefined;
  /** Error events in the midst of the answer. `undefined` where none are looked for. */
  errors: { readonly error: SseProxyError | undefined } | undefined;
  /** The upstream's answer came to its end. */
  isWhole = false;
  /** The rest of the answer could not be read. */
  isBlind = false;
  /** An event in the midst of the answer could not be read: whatever was in it is missing in the figures. */
  hasGap = false;
  /** Its figures belong to another exchange. */
  isRetrieved = false;
  /** What the user's `cost` has made of the figures. */
  cost: number | undefined;
  readonly #startedAt = performance.now();
  #sentAt = 0;
  #headersAt: number | undefined;
  #firstByteAt: number | undefined;
  #firstTokenAt: number | undefined;
  #endedAt: number | undefined;

  get target(): string | undefined {
    return this.attempts.at(-1)?.target;
  }

  /** The name of the provider that was asked last. */
  get provider(): string | undefined {
    return this.attempts.at(-1)?.provider;
  }

  /** @param provider its name */
  attempt(target: string, provider?: string): void {
    this.attempts.push({ target, ...(provider !== undefined && { provider }) });
    this.#sentAt = this.#elapsed();
  }

  /** What the last attempt has asked for, and whether it wants a stream. */
  asked({ model, stream }: Asked): void {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined) return;
    if (model !== undefined) attempt.requestModel = model;
    if (stream !== undefined) attempt.stream = stream;
  }

  get requestModel(): string | undefined {
    return this.attempts.at(-1)?.requestModel;
  }

  head(statusCode: number): void {
    this.#headersAt = this.#elapsed();
    this.#attempted({ statusCode }, this.#headersAt);
  }

  attemptFailed(error: SseProxyErrorCode): void {
    this.#attempted({ error }, this.#elapsed());
  }

  #attempted(result: Pick<AttemptSummary, 'statusCode' | 'error'>, now: number): void {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined || attempt.error !== undefined) return;
    attempt.duration ??= now - this.#sentAt;
    Object.assign(attempt, result);
  }

  firstByte(): void {
    this.#firstByteAt = this.#elapsed();
  }

  /** @returns whether this was the first time */
  firstToken(): boolean {
    if (this.#firstTokenAt !== undefined) return false;
    // Events are read a moment after they have been forwarded, and the last ones after the end of the exchange.
    this.#firstTokenAt = this.#endedAt ?? this.#elapsed();
    return true;
  }

  /** Takes the time of the end, once. Reading the rest of the response, for the summary alone, does not count. */
  stopClock(): void {
    this.#endedAt ??= this.#elapsed();
  }

  /** What the provider has reported so far. */
  usage(): Usage {
    const told = usageOf(this.reading, this.isWhole && !this.isBlind);
    const usage = this.hasGap || this.errors?.error !== undefined ? { ...told, complete: false } : told;
    if (this.isRetrieved && hasFigures(usage)) return { ...usage, retrieved: true };
    return this.cost === undefined ? usage : { ...usage, cost: this.cost };
  }

  report(outcome: Outcome, statusCode: number | undefined, error: SseProxyError | undefined): StreamSummary {
    const { model, finishReason } = this.reading ?? {};
    const { requestModel, stream } = this.attempts.at(-1) ?? {};
    return {
      outcome,
      ...(statusCode !== undefined && { statusCode }),
      attempts: this.attempts,
      ...(this.target !== undefined && { target: this.target }),
      ...(this.provider !== undefined && { provider: this.provider }),
      bytes: this.bytes,
      ...(this.events !== undefined && { events: this.events }),
      ...(this.reading !== undefined && { usage: this.usage() }),
      ...(this.cost !== undefined && { cost: this.cost }),
      ...(requestModel !== undefined && { requestModel }),
      ...(stream !== undefined && { stream }),
      ...(model !== undefined && { model }),
      ...(finishReason !== undefined && { finishReason }),
      timings: {
        ...(this.#headersAt !== undefined && { headers: this.#headersAt }),
        ...(this.#firstByteAt !== undefined && { firstByte: this.#firstByteAt }),
        ...(this.#firstTokenAt !== undefined && { firstToken: this.#firstTokenAt }),
        total: this.#endedAt ?? this.#elapsed(),
      },
      ...(error !== undefined && { error }),
    };
  }

  #elapsed(): number {
    return performance.now() - this.#startedAt;
  }
}
