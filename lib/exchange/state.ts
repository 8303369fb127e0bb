import type { Answer } from '../response/answer.js';
import type { FailureAnswer } from './failure-answer.js';

/** The request waits for its turn, or the request of an attempt is prepared: `router`, `pathRewrite`, credentials. */
interface Preparing {
  readonly name: 'preparing';
  /** The async hook that is waited for. */
  readonly hook: string | undefined;
}

/** An attempt's request is sent, and the head of its response is awaited. */
interface Attempting {
  readonly name: 'attempting';
}

/** An attempt has failed, and the next one is to be made in a while. */
interface Waiting {
  readonly name: 'waiting';
  readonly timer: NodeJS.Timeout;
}

/** The head of a response is there, and held back. */
interface Gating {
  readonly name: 'gating';
  readonly answer: Answer;
  /** Its first event is still to be looked at. Else it waits until the answer to an earlier request of the connection is sent. */
  readonly isUndecided: boolean;
}

/** A response is passed on to the client. */
interface Relaying {
  readonly name: 'relaying';
  readonly answer: Answer;
}

/** The response is the user's to send (`selfHandleResponse`). */
interface HandedOver {
  readonly name: 'handed-over';
}

/** The client has been given a whole response, and is still to take the last of it. */
interface Finishing {
  readonly name: 'finishing';
  /** `undefined` where the response is the proxy's own. */
  readonly answer: Answer | undefined;
}

/** The exchange has failed: the client is told, or its response is cut. */
interface Failing {
  readonly name: 'failing';
  /** What has failed on its way to the client. */
  readonly answer: Answer | undefined;
  readonly response: FailureAnswer;
}

/**
 * The client has left, and the upstream's response is read on: for the account (`onClientClose: 'continue'`), or to the end of its body,
 * where the answer in it is complete.
 */
export interface Continuing {
  readonly name: 'continuing';
  readonly timer: NodeJS.Timeout;
  /** How many bytes are read on. */
  readonly limit: number;
  /** `undefined` where the head is still to come. */
  readonly answer: Answer | undefined;
}

interface Ended {
  readonly name: 'ended';
}

/** The way of an exchange. What is true only for a while is in the state for which it is true. */
export type State =
  | Preparing
  | Attempting
  | Waiting
  | Gating
  | Relaying
  | HandedOver
  | Finishing
  | Failing
  | Continuing
  | Ended;

/** Which state may follow which. */
interface Transitions {
  preparing: 'preparing' | 'attempting' | 'waiting' | 'failing' | 'ended';
  attempting:
    | 'preparing'
    | 'waiting'
    | 'gating'
    | 'relaying'
    | 'handed-over'
    | 'finishing'
    | 'failing'
    | 'continuing'
    | 'ended';
  waiting: 'preparing' | 'failing' | 'ended';
  gating: 'preparing' | 'waiting' | 'gating' | 'relaying' | 'failing' | 'continuing' | 'ended';
  // Up to the head a hook may still refuse the response, and another attempt be made.
  relaying: 'preparing' | 'waiting' | 'finishing' | 'failing' | 'continuing' | 'ended';
  'handed-over': 'failing' | 'continuing' | 'ended';
  finishing: 'failing' | 'ended';
  failing: 'ended';
  continuing: 'continuing' | 'ended';
  ended: never;
}

/** What all members of a union have in common. */
type Common<Names extends keyof Transitions> = (
  Names extends unknown
    ? (name: Transitions[Names]) => void
    : never
) extends (name: infer Shared) => void
  ? Shared
  : never;

/** The states that may follow a state: of several, only those that may follow each of them. */
export type StateAfter<From extends State> = Extract<State, { name: Common<From['name']> }>;

export const PREPARING: Preparing = { name: 'preparing', hook: undefined };
export const ATTEMPTING: Attempting = { name: 'attempting' };
export const HANDED_OVER: HandedOver = { name: 'handed-over' };
export const ENDED: Ended = { name: 'ended' };

/** The response that is on its way to the client, or was. */
export function answerOf(state: State): Answer | undefined {
  return 'answer' in state ? state.answer : undefined;
}

/** The client has got nothing yet, and another attempt may follow. */
export function isBeforeHead(state: State): state is Preparing | Attempting | Waiting | Gating | Relaying {
  const { name } = state;
  return (
    name === 'preparing' || name === 'attempting' || name === 'waiting' || name === 'gating' || name === 'relaying'
  );
}

/** The upstream's response is on its way, or awaited. */
export function isOpen(state: State): state is Attempting | Gating | Relaying | HandedOver {
  const { name } = state;
  return name === 'attempting' || name === 'gating' || name === 'relaying' || name === 'handed-over';
}
