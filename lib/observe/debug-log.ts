import { debuglog } from 'node:util';
import { isDecodable } from '../headers/content-coding.js';
import { first } from '../headers/header-values.js';
import { essenceOf } from '../headers/media-type.js';
import type { Route } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { StreamSummary } from '../types/summary.js';
import { pathOf, withoutQuery, word } from './log-text.js';
import type { BodyTasks, Identity, Observer, PlannedResponse, RetryKind, Stall, Why } from './observer.js';

const log = debuglog('express-sse-proxy');

/** How many exchanges this process has logged. */
let count = 0;

/** The debug log of a new exchange; `undefined` where `NODE_DEBUG` does not ask for one, so that nothing is formatted in vain. */
export function debugLog(exchange: Exchange): DebugLog | undefined {
  if (!log.enabled) return undefined;
  count += 1;
  return new DebugLog(count, exchange, (line) => log('%s', line));
}

/**
 * Writes a line for each decision about one exchange (`NODE_DEBUG=express-sse-proxy`): the number of the exchange, the milliseconds
 * since it came in, and what was decided. Paths are without their queries. Of the headers, only the content's type and coding are
 * logged, and of an error only its codes, since its message may quote a header or a body. Bodies are never logged.
 */
export class DebugLog implements Observer {
  readonly #id: number;
  readonly #exchange: Exchange;
  readonly #write: (line: string) => void;
  readonly #startedAt = performance.now();

  constructor(id: number, exchange: Exchange, write: (line: string) => void) {
    const { req } = exchange;
    this.#id = id;
    this.#exchange = exchange;
    this.#write = write;
    this.#say(`${word(req.method ?? '-')} ${word(pathOf(req))}`);
  }

  #say(line: string): void {
    this.#write(`#${this.#id} +${Math.round(performance.now() - this.#startedAt)} ms ${line}`);
  }

  leftToApp(): void {
    this.#say('left to the app: pathFilter');
  }

  queued(): void {
    this.#say('waits for its turn');
  }

  turnedAway(reason: 'full' | 'timeout'): void {
    this.#say(reason === 'full' ? 'no place, and none in the queue' : 'its turn has not come in time');
  }

  skipped(target: Route['target']): void {
    this.#say(`skips ${nameOf(target)}: its circuit is open`);
  }

  attempt(target: string, as: Identity | undefined): void {
    const { attempts, path, req } = this.#exchange;
    const where = `${target}${withoutQuery(path)}`;
    const provider = as?.route.provider?.name;
    const whom = provider === undefined ? '' : ` as ${word(provider)}`;
    this.#say(
      `attempt ${attempts.length}: ${word(req.method ?? '-')} ${word(as?.secrets?.mask(where) ?? where)}${whom}`,
    );
  }

  planned({ statusCode, headers, eventStream, isGated, plan }: PlannedResponse): void {
    const type = essenceOf(first(headers['content-type']));
    const what = [
      `head: ${statusCode}`,
      type || 'no content type',
      eventStream && 'event stream',
      isGated && 'waits for its first event',
      ...tasksOf(plan),
    ];
    this.#say(what.filter(Boolean).join(', '));
  }

  switched(): void {
    this.#say('switched to WebSocket');
  }

  handedOver(): void {
    this.#say('handed over: selfHandleResponse');
  }

  retry(why: Why, how: RetryKind, delay: number): void {
    const next = {
      retry: `; again in ${Math.round(delay)} ms`,
      fallback: '; falls back',
      'fresh-connection': ', on a pooled connection; again on a fresh one',
    };
    this.#say(`failed: ${reasonOf(why)}${next[how]}`);
  }

  cannotRetry(why: Why): void {
    this.#say(`failed: ${reasonOf(why)}; the request's body was not kept for another attempt`);
  }

  clientLeft(continues: boolean): void {
    this.#say(`the client has left: ${continues ? 'the answer is read on' : 'aborted'}`);
  }

  stalled({ cause, hook, phase, duration }: Stall): void {
    const causes = {
      upstream: 'the upstream sends nothing',
      client: phase === 'drain' ? 'the client does not read' : 'the client does not send the rest of its request',
      hook: `\`${hook}\` has not settled`,
      'event-loop': 'the event loop was blocked',
    };
    this.#say(`stalled for ${Math.round(duration)} ms: ${causes[cause]}`);
  }

  ended({ outcome, statusCode, bytes, error }: StreamSummary): void {
    const what = [`ended: ${outcome}`, statusCode ?? 'no status', `${bytes} bytes`, error && reasonOf({ error })];
    this.#say(what.filter(Boolean).join(', '));
  }
}

/** Names what the proxy does with a body. */
function tasksOf(plan: BodyTasks | undefined): string[] {
  if (plan === undefined) return [];
  const { decode, decodeAside, reads, observes, transforms, beats, unreadable } = plan;
  if (unreadable) return ['cannot be transformed'];
  const aside = reads || observes ? decodeAside : undefined;
  if (aside !== undefined && !isDecodable(aside)) return [`cannot be read: ${word(aside)}`];
  return [
    decode !== undefined && `decode ${decode}`,
    aside !== undefined && `decode ${aside} aside`,
    reads && 'read',
    observes && 'observe',
    transforms && 'transform',
    beats && 'heartbeat',
  ].filter((task) => task !== false);
}

/** Names a failure by its status, or by its codes. */
function reasonOf({ statusCode, error }: Why): string {
  if (error === undefined) return `status ${statusCode}`;
  const { code: cause } = (error.cause ?? {}) as { code?: unknown };
  // An error that a hook throws may have anything as its code.
  const isCode = typeof cause === 'string' && /^[A-Z][A-Z\d_]{1,50}$/.test(cause);
  return isCode ? `${error.code} (${cause})` : error.code;
}

/** Names a target, without user information. */
function nameOf(target: Route['target']): string {
  if (target === undefined) return 'the target';
  if (typeof target === 'string' || target instanceof URL) return word(new URL(target).origin);
  const { hostname, host, socketPath } = target as Record<string, string | undefined>;
  return word(hostname ?? host ?? socketPath ?? '-');
}
