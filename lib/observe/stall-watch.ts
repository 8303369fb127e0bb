import type { IncomingMessage } from 'node:http';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { BLOCKED_AFTER, EVENT_LOOP_RESOLUTION, STALL_INTERVAL, STALLED_AFTER } from '../defaults.js';
import { hasBody } from '../headers/framing.js';
import type { Exchange } from '../types/hooks.js';
import type { Observer, Stall, WaitingPhase } from './observer.js';
import type { Summary } from './summary.js';

/** The exchanges that run. One timer in the process looks at all of them. */
const watched = new Set<StallWatch>();
let timer: NodeJS.Timeout | undefined;
let delay: IntervalHistogram | undefined;

/**
 * Detects that one exchange stands still, finds out why, and tells other observers. It looks at the exchange once a second, so that
 * it costs nothing per chunk.
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
    // In `setImmediate`, after a blocked event loop has measured its delay, and has read what arrived meanwhile.
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

  /** @param blocked the longest delay of the event loop, in milliseconds: for a blocked loop, nobody else is to blame */
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

  /** A sum of byte counts that changes whenever something moves: the upload, the upstream's response, or what the client gets. */
  #measure(): number {
    const uploaded = this.#isUploading ? this.#exchange.req.socket?.bytesRead : undefined;
    // After a complete response, its connection may already serve another exchange.
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

  /** The client has not sent all of its request, and it is not the upstream that holds up the upload (backpressure). */
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
  // Not each time: `reset` also drops the measurement that is under way, and a block that begins just then would be missed.
  if (blocked >= BLOCKED_AFTER) delay.reset();
  for (const watch of watched) watch.look(blocked);
}
