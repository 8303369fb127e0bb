import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../../lib/errors.js';
import { type Decision, decide, type Facts, type Plan } from '../../../lib/exchange/decide.js';
import type { Failure } from '../../../lib/failover/failure.js';

const error = (code: SseProxyErrorCode): Failure => ({ kind: 'error', error: new SseProxyError(code), reached: true });
const CLOSED = error('UPSTREAM_CLOSED');
const UNREACHABLE = error('UPSTREAM_UNREACHABLE');
const RESPONSE: Failure = { kind: 'response', statusCode: 503, headers: {}, reached: true };
const EVENT: Failure = { kind: 'event', statusCode: 529, event: undefined, reached: true };

/** An attempt has failed before the client got anything, and the body can be sent again. */
const FACTS: Facts = {
  isDecided: false,
  isContinuing: false,
  headersSent: false,
  clientGone: false,
  wasStale: false,
  isReplayable: true,
};
const NEVER: Plan = { isPossible: false, allowsAnother: () => true, delayAfter: () => 0 };
const NOT_THIS: Plan = { isPossible: true, allowsAnother: () => false, delayAfter: () => 0 };
const RETRY: Plan = { isPossible: true, allowsAnother: () => true, delayAfter: () => 250 };
const FALL_BACK: Plan = { isPossible: true, allowsAnother: () => true, delayAfter: () => undefined };

const answer = { next: 'answer', isBodyLost: false } as const;
const bodyLost = { next: 'answer', isBodyLost: true } as const;

describe('what follows a failure', () => {
  it.each<[string, Failure, Partial<Facts>, Plan, Decision]>([
    ['a retry, after its delay', UNREACHABLE, {}, RETRY, { next: 'retry', delay: 250 }],
    ['a retry after a response', RESPONSE, {}, RETRY, { next: 'retry', delay: 250 }],
    ['a retry after an error event', EVENT, {}, RETRY, { next: 'retry', delay: 250 }],
    ['the next target, where the same one is not tried again', UNREACHABLE, {}, FALL_BACK, { next: 'fallback' }],
    ['the answer, where there is no other attempt', UNREACHABLE, {}, NEVER, answer],
    ['the answer, where another attempt would not do better', RESPONSE, {}, NOT_THIS, answer],
    ['the answer, where the body was not kept', RESPONSE, { isReplayable: false }, RETRY, bodyLost],
    ['the answer, where the client has left', UNREACHABLE, { clientGone: true }, RETRY, answer],

    [
      'a fresh connection, where the pooled one was stale',
      CLOSED,
      { wasStale: true },
      NEVER,
      { next: 'fresh-connection' },
    ],
    ['a fresh connection before a retry', CLOSED, { wasStale: true }, RETRY, { next: 'fresh-connection' }],
    ['no fresh connection after another error', UNREACHABLE, { wasStale: true }, NEVER, answer],
    ['no fresh connection without the body', CLOSED, { wasStale: true, isReplayable: false }, NEVER, answer],
    ['no fresh connection for a client that has left', CLOSED, { wasStale: true, clientGone: true }, NEVER, answer],

    [
      'a cut, where the head has been sent',
      CLOSED,
      { headersSent: true, wasStale: true },
      RETRY,
      { next: 'break-off' },
    ],
    [
      'a cut, although the client has left',
      CLOSED,
      { headersSent: true, clientGone: true },
      RETRY,
      { next: 'break-off' },
    ],
    [
      'the end, where the client had left and the answer was read on',
      CLOSED,
      { isContinuing: true },
      RETRY,
      { next: 'end' },
    ],
    ['the end, with the head sent', CLOSED, { isContinuing: true, headersSent: true }, RETRY, { next: 'end' }],
    ['nothing, where it has failed before', CLOSED, { isDecided: true, headersSent: true }, RETRY, { next: 'ignore' }],
    ['nothing, where it is over', RESPONSE, { isDecided: true }, RETRY, { next: 'ignore' }],
  ])('decide: %s', (_what, failure, facts, plan, expected) => {
    expect(decide(failure, { ...FACTS, ...facts }, plan)).toEqual(expected);
  });

  it('decide: has no effects, and asks for no delay of what is not tried again', () => {
    const asked: Failure[] = [];
    const plan: Plan = { ...RETRY, delayAfter: (failure) => void asked.push(failure) as undefined };
    for (const facts of [{ isDecided: true }, { headersSent: true }, { isReplayable: false }, { clientGone: true }]) {
      decide(RESPONSE, Object.freeze({ ...FACTS, ...facts }), plan);
    }
    expect(asked).toEqual([]);
  });
});
