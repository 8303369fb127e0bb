import type { IncomingMessage } from 'node:http';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { BLOCKED_AFTER, EVENT_LOOP_RESOLUTION, STALL_INTERVAL, STALLED_AFTER } from '../defaults.js';
import { hasBody } from '../headers/framing.js';
import type { Exchange } from '../types/hooks.js';
import type { Observer, Stall, WaitingPhase } from './observer.js';
import type { Summary } from './summary.js';

/** Those that run; looked at together, by one timer in the process. */
const watched = new Set<StallWatch>();
let timer: NodeJS.Timeout | undefined;
let delay: IntervalHistogram | undefined;

/**
 * Finds out that one exchange stands still, and why, and tells others. It looks at the exchange from time to time: nothing is
 * done per chunk.
 */
export class StallWatch implements Observer {
  readonly #exchange: Exchange;
  readonly #summary: Summary;
  readonly #others: readonly Observer[];
  #phase: WaitingPhase | undefined;
  #hook: string | undefined;
  #response: IncomingMessage | undefined;
  #since = 0;
  #progress = 0;
  #isTold = false;

  constructor(exchange: Exchange, summary: Summary, others: readonly Observer[]) {
    this.#exchange = exchange;
    this.#summary = summary;
    this.#others = others;
  }

  started(): void {
    watched.add(this);
    this.#restart();
    if (timer !== undefined) return;
    delay ??= monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION });
    delay.enable();
    // Not before the event loop has measured itself, and has read what came while it was blocked.
    timer = setInterval(() => setImmediate(lookAtAll), STALL_INTERVAL).unref();
  }

  phase(phase: WaitingPhase | undefined): void {
    this.#phase = phase;
    this.#restart();
  }

  waiting(hook: string | undefined): void {
    this.#hook = hook;
    this.#restart();
  }

  attempt(): void {
    this.#hook = undefined;
    this.#response = undefined;
  }

  head(_statusCode: number, response: IncomingMessage): void {
    this.#response = response;
  }

  ended(): void {
    watched.delete(this);
    if (watched.size > 0) return;
    clearInterval(timer);
    timer = undefined;
    delay?.disable();
    delay?.reset();
  }

  /** @param blocked how long the event loop was blocked, which is nobody else's fault */
  look(blocked: number): void {
    const progress = this.#measure();
    if (blocked >= BLOCKED_AFTER) this.#tell({ cause: 'event-loop', duration: blocked });
    if (blocked >= BLOCKED_AFTER || progress !== this.#progress) {
      this.#restart(progress);
      return;
    }
    const duration = performance.now() - this.#since;
    if (this.#isTold || duration < STALLED_AFTER) return;
    const stall = this.#stall(duration);
    if (stall === undefined) return;
    this.#isTold = true;
    this.#tell(stall);
  }

  #restart(progress = this.#measure()): void {
    this.#progress = progress;
    this.#since = performance.now();
    this.#isTold = false;
  }

  /** Changes when something moves: bytes of the upload, of the upstream's response, or to the client. */
  #measure(): number {
    const uploaded = this.#isUploading ? this.#exchange.req.socket?.bytesRead : undefined;
    // Whole, its connection may be another's already.
    const received = this.#response?.complete === false ? this.#response.socket?.bytesRead : undefined;
    return this.#summary.bytes + (uploaded ?? 0) + (received ?? 0);
  }

  #stall(duration: number): Stall | undefined {
    const phase = this.#phase;
    const hook = this.#hook;
    if (hook !== undefined) return { cause: 'hook', hook, duration, ...(phase !== undefined && { phase }) };
    if (phase === undefined) return undefined;
    const isClients = phase === 'drain' || (phase === 'headers' && this.#isUploading);
    return { cause: isClients ? 'client' : 'upstream', phase, duration };
  }

  /** The rest of the request is still to come, and the upstream takes what comes. */
  get #isUploading(): boolean {
    const { req } = this.#exchange;
    return hasBody(req) && !req.complete && !req.isPaused();
  }

  #tell(stall: Stall): void {
    for (const other of this.#others) other.stalled?.(stall);
  }
}

function lookAtAll(): void {
  if (delay === undefined) return;
  const blocked = delay.max / 1e6;
  // It forgets where it was with that, too, so that what blocks the loop right then would be missed.
  if (blocked >= BLOCKED_AFTER) delay.reset();
  for (const watch of watched) watch.look(blocked);
}
