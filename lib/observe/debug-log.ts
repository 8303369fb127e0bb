import type { IncomingMessage } from 'node:http';
import { debuglog } from 'node:util';
import type { Refusal } from '../admission/concurrency-limiter.js';
import type { Secrets } from '../credentials/secrets.js';
import type { Outcome, SseProxyError } from '../errors.js';
import { isDecodable } from '../headers/content-coding.js';
import { first } from '../headers/headers.js';
import { essenceOf } from '../headers/media-type.js';
import type { Answer } from '../response/answer.js';
import type { BodyPlan } from '../response/body-plan.js';
import type { Route } from '../types/config.js';
import type { Exchange } from '../types/types.js';
import { pathOf, withoutQuery, word } from './access-log.js';

const log = debuglog('express-sse-proxy');

/** How many exchanges were told of, in this process. */
let count = 0;

/** The lines of a new exchange; `undefined` where `NODE_DEBUG` does not ask for them, so that nothing is made of what they say. */
export function diagnose(req: IncomingMessage): DebugLog | undefined {
  if (!log.enabled) return undefined;
  count += 1;
  return new DebugLog(count, req, (line) => log('%s', line));
}

/** Why an attempt is not the answer. */
export interface Why {
  statusCode?: number | undefined;
  error?: SseProxyError | undefined;
}

/** An upstream's response, before its head is made the client's. */
export type UpstreamHead = Pick<Answer, 'statusCode' | 'headers' | 'eventStream' | 'isGated' | 'plan'>;

/**
 * A line per decision about one exchange, for `NODE_DEBUG=express-sse-proxy`: its number, the milliseconds since it came in, and
 * what was decided. Paths are without their queries. Of the header fields only type and coding of the content are in them, of a
 * body nothing, and of an error only its codes: what it says may quote either.
 */
export class DebugLog {
  readonly #id: number;
  readonly #write: (line: string) => void;
  readonly #startedAt = performance.now();

  constructor(id: number, req: IncomingMessage, write: (line: string) => void) {
    this.#id = id;
    this.#write = write;
    this.#say(`${word(req.method ?? '-')} ${word(pathOf(req))}`);
  }

  #say(line: string): void {
    this.#write(`#${this.#id} +${Math.round(performance.now() - this.#startedAt)} ms ${line}`);
  }

  /** `pathFilter` leaves it to the app. */
  leftToApp(): void {
    this.#say('left to the app: pathFilter');
  }

  waits(): void {
    this.#say('waits for its turn');
  }

  turnedAway(refusal: Refusal): void {
    this.#say(refusal === 'full' ? 'no place, and none in the queue' : 'its turn has not come in time');
  }

  /** A target is not tried, since it has failed too often. */
  skips({ target }: Pick<Route, 'target'>): void {
    this.#say(`skips ${nameOf(target)}: its circuit is open`);
  }

  /** A request is about to be sent upstream; `secrets` are its credentials. */
  sending({ attempts, target, path, req }: Exchange, provider: string | undefined, secrets: Secrets | undefined): void {
    const where = `${target}${withoutQuery(path)}`;
    const whom = provider === undefined ? '' : ` as ${word(provider)}`;
    this.#say(`attempt ${attempts.length}: ${word(req.method ?? '-')} ${word(secrets?.mask(where) ?? where)}${whom}`);
  }

  /** The head of the upstream's response has come. */
  head({ statusCode, headers, eventStream, isGated, plan }: UpstreamHead): void {
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

  /** The upstream has let a WebSocket in. */
  switched(): void {
    this.#say('switched to WebSocket');
  }

  /** The response is the user's, with `selfHandleResponse`. */
  handedOver(): void {
    this.#say('handed over: selfHandleResponse');
  }

  sendsAgain(why: Why, delay: number): void {
    this.#say(`failed: ${reasonOf(why)}; again in ${Math.round(delay)} ms`);
  }

  sendsAgainOnFreshConnection(error: SseProxyError): void {
    this.#say(`failed: ${reasonOf({ error })}, on a pooled connection; again on a fresh one`);
  }

  fallsBack(why: Why): void {
    this.#say(`failed: ${reasonOf(why)}; falls back`);
  }

  /** There might have been another attempt. */
  cannotSendAgain(why: Why): void {
    this.#say(`failed: ${reasonOf(why)}; the request's body was not kept for another attempt`);
  }

  clientLeft(continues: boolean): void {
    this.#say(`the client has left: ${continues ? 'the answer is read on' : 'aborted'}`);
  }

  ended({ outcome, statusCode, bytes, error }: Why & { outcome: Outcome; bytes: number }): void {
    const what = [`ended: ${outcome}`, statusCode ?? 'no status', `${bytes} bytes`, error && reasonOf({ error })];
    this.#say(what.filter(Boolean).join(', '));
  }
}

/** What is done with a body. */
function tasksOf(plan: BodyPlan | undefined): string[] {
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

/** By its codes. */
function reasonOf({ statusCode, error }: Why): string {
  if (error === undefined) return `status ${statusCode}`;
  const { code: cause } = (error.cause ?? {}) as { code?: unknown };
  // What a hook throws may have anything for a code.
  const isCode = typeof cause === 'string' && /^[A-Z][A-Z\d_]{1,50}$/.test(cause);
  return isCode ? `${error.code} (${cause})` : error.code;
}

/** Without its user information. */
function nameOf(target: Route['target']): string {
  if (target === undefined) return 'the target';
  if (typeof target === 'string' || target instanceof URL) return word(new URL(target).origin);
  const { hostname, host, socketPath } = target as Record<string, string | undefined>;
  return word(hostname ?? host ?? socketPath ?? '-');
}
