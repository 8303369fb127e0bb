import { describe, expect, it } from '@jest/globals';
import {
  ATTEMPTING,
  answerOf,
  ENDED,
  HANDED_OVER,
  isBeforeHead,
  isOpen,
  PREPARING,
  type State,
  type StateAfter,
} from '../../../lib/exchange/state.js';
import type { Answer } from '../../../lib/response/answer.js';

/** What the exchange does; whether it compiles is what is tested. */
function enter<From extends State>(_from: From, to: StateAfter<From>): State {
  return to;
}

const answer = {} as Answer;
const relaying: Extract<State, { name: 'relaying' }> = { name: 'relaying', answer };
const finishing: Extract<State, { name: 'finishing' }> = { name: 'finishing', answer };

describe('the states of an exchange', () => {
  it('state machine: transitions that are foreseen compile', () => {
    expect(enter(PREPARING, ATTEMPTING)).toBe(ATTEMPTING);
    expect(enter(ATTEMPTING, PREPARING)).toBe(PREPARING);
    expect(enter(ATTEMPTING, relaying)).toBe(relaying);
    expect(enter(relaying, finishing)).toBe(finishing);
    expect(enter(finishing, ENDED)).toBe(ENDED);
    expect(enter(relaying as typeof relaying | typeof finishing, ENDED)).toBe(ENDED);
  });

  it('state machine: illegal transitions do not compile', () => {
    // @ts-expect-error what has ended stays so
    enter(ENDED, PREPARING);
    // @ts-expect-error and ends once
    enter(ENDED, ENDED);
    // @ts-expect-error no response before the request was sent
    enter(PREPARING, relaying);
    // @ts-expect-error no other attempt when the client has a whole response
    enter(finishing, PREPARING);
    // @ts-expect-error what the user answers is not passed on
    enter(HANDED_OVER, relaying);
    // @ts-expect-error of several states, only what may follow each of them
    enter(relaying as typeof relaying | typeof finishing, PREPARING);
    expect(true).toBe(true);
  });

  it('state machine: says in which state another attempt may follow, and in which a response may be read on', () => {
    expect([PREPARING, ATTEMPTING, relaying].every(isBeforeHead)).toBe(true);
    expect([HANDED_OVER, finishing, ENDED].some(isBeforeHead)).toBe(false);
    expect([ATTEMPTING, relaying, HANDED_OVER].every(isOpen)).toBe(true);
    expect([PREPARING, finishing, ENDED].some(isOpen)).toBe(false);
  });

  it('state machine: knows the response that a state is about', () => {
    expect(answerOf(relaying)).toBe(answer);
    expect(answerOf(PREPARING)).toBeUndefined();
  });
});
